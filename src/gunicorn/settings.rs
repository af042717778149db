//! The settings of a Gunicorn that matter to a proxy in front of it, each with where it comes from.

use super::literals::Literal;

/// Below a directory of the user.
const USUAL_CONTROL_SOCKET: &str = "gunicorn.ctl";

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Where it listens; may be said more than once.
    Bind,
    /// Worker processes.
    Workers,
    /// Threads of each.
    Threads,
    /// How a worker serves.
    WorkerClass,
    /// Seconds after which a silent worker is killed; of a sync worker, the longest request.
    Timeout,
    /// Seconds an idle connection is kept.
    Keepalive,
    /// Bytes of a request line.
    RequestLine,
    /// Fields of a request.
    RequestFields,
    /// Bytes of one field.
    FieldSize,
    /// A file of settings.
    Config,
    /// It speaks TLS.
    Certificate,
    /// Where it is controlled.
    ControlSocket,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// An environment variable.
    Variable(&'static str),
    /// The configuration file.
    File,
    /// The command line.
    CommandLine,
    /// What is seen of the processes.
    Seen,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Default => "Gunicorn's default",
            Source::Variable(name) => name,
            Source::File => "its configuration file",
            Source::CommandLine => "its command line",
            Source::Seen => "seen in /proc",
        })
    }
}

/// A value; `None` is one that cannot be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: Option<T>,
    /// Where it, or that it is computed, comes from.
    pub source: Source,
}

impl<T> Setting<T> {
    fn default(value: T) -> Setting<T> {
        Setting { value: Some(value), source: Source::Default }
    }
}

/// How a worker takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// One at a time, a connection each.
    Sync,
    /// One a thread.
    Threads,
    /// Any number.
    Async,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// As they are written; empty if nothing says so.
    pub bind: Setting<Vec<String>>,
    /// Worker processes.
    pub workers: Setting<u64>,
    /// Threads of each.
    pub threads: Setting<u64>,
    /// The name of the class.
    pub worker_class: Setting<String>,
    /// Seconds; 0 is for ever.
    pub timeout: Setting<u64>,
    /// Seconds.
    pub keepalive: Setting<u64>,
    /// Bytes; 0 is without a bound.
    pub request_line: Setting<u64>,
    /// Fields.
    pub request_fields: Setting<u64>,
    /// Bytes; 0 is without a bound.
    pub field_size: Setting<u64>,
    /// The configuration file as it was named.
    pub config: Option<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The socket it is controlled by, if it was named.
    pub control_socket: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            bind: Setting::default(Vec::new()),
            workers: Setting::default(1),
            threads: Setting::default(1),
            worker_class: Setting::default("sync".to_owned()),
            timeout: Setting::default(30),
            keepalive: Setting::default(2),
            request_line: Setting::default(4094),
            request_fields: Setting::default(100),
            field_size: Setting::default(8190),
            config: None,
            tls: false,
            control_socket: None,
        }
    }
}

impl Settings {
    /// Settings of which nothing is known.
    pub fn unknown() -> Settings {
        fn none<T>() -> Setting<T> {
            Setting { value: None, source: Source::CommandLine }
        }
        Settings {
            bind: none(),
            workers: none(),
            threads: none(),
            worker_class: none(),
            timeout: none(),
            keepalive: none(),
            request_line: none(),
            request_fields: none(),
            field_size: none(),
            config: None,
            tls: false,
            control_socket: None,
        }
    }

    /// Puts texts over what is there, as Gunicorn does: of `bind` all of one source, of the rest the last.
    pub fn put(&mut self, said: &[(Key, String)], source: Source) {
        let binds: Vec<String> =
            said.iter().filter(|(key, _)| *key == Key::Bind).map(|(_, value)| value.clone()).collect();
        for (key, value) in said {
            match key {
                Key::Bind => self.set(Key::Bind, Some(&binds), source),
                _ => self.set(*key, Some(std::slice::from_ref(value)), source),
            }
        }
    }

    /// Puts what a file says over what is there.
    pub fn put_file(&mut self, said: &[(Key, Literal)]) {
        for (key, literal) in said {
            match literal {
                Literal::Plain(values) => self.set(*key, Some(values), Source::File),
                Literal::Computed => self.set(*key, None, Source::File),
            }
        }
    }

    fn set(&mut self, key: Key, values: Option<&[String]>, source: Source) {
        let last = values.and_then(|values| values.last());
        let number = || Setting { value: last.and_then(|value| value.parse().ok()), source };
        match key {
            Key::Bind => {
                let split =
                    |value: &String| value.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
                let value = values.map(|values| values.iter().flat_map(split).collect());
                self.bind = Setting { value, source };
            }
            Key::WorkerClass => self.worker_class = Setting { value: last.cloned(), source },
            Key::Config => self.config = last.cloned(),
            Key::Certificate => self.tls = true,
            Key::ControlSocket => self.control_socket = last.cloned(),
            Key::Workers => self.workers = number(),
            Key::Threads => self.threads = number(),
            Key::Timeout => self.timeout = number(),
            Key::Keepalive => self.keepalive = number(),
            Key::RequestLine => self.request_line = number(),
            Key::RequestFields => self.request_fields = number(),
            Key::FieldSize => self.field_size = number(),
        }
    }

    /// Whether a Unix socket is the one it is controlled by, at which no request is answered.
    pub fn is_control_socket(&self, path: &str) -> bool {
        let name = self.control_socket.as_deref().unwrap_or(USUAL_CONTROL_SOCKET);
        path == name || path.ends_with(&format!("/{name}"))
    }

    /// How its workers take requests; `None` for a class that is not known.
    pub fn concurrency(&self) -> Option<Concurrency> {
        let class = self.worker_class.value.as_deref()?;
        let is = |names: &[&str]| names.iter().any(|name| class.contains(name));
        if is(&["gevent", "eventlet", "tornado", "uvicorn", "asgi", "aiohttp"]) {
            return Some(Concurrency::Async);
        }
        if is(&["gthread", "ThreadWorker"]) {
            return Some(Concurrency::Threads);
        }
        if class != "sync" && !class.ends_with("SyncWorker") {
            return None;
        }
        // More than one thread makes another class of it.
        Some(if self.threads.value? > 1 { Concurrency::Threads } else { Concurrency::Sync })
    }

    /// How many requests it takes at once, where that is a number.
    pub fn capacity(&self) -> Option<u64> {
        match self.concurrency()? {
            Concurrency::Sync => self.workers.value,
            Concurrency::Threads => self.workers.value?.checked_mul(self.threads.value?),
            Concurrency::Async => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{arguments, literals};
    use super::*;

    fn settings(variable: &str, file: &str, line: &str) -> Settings {
        let mut settings = Settings::default();
        settings.put_file(&literals::read(file));
        settings.put(&arguments::read(&arguments::words(variable)), Source::Variable("GUNICORN_CMD_ARGS"));
        settings.put(&arguments::read(&arguments::words(line)), Source::CommandLine);
        settings
    }

    #[test]
    fn the_command_line_goes_before_the_variable_before_the_file() {
        let found = settings("-w 3 --threads 3", "workers = 2\nthreads = 2\ntimeout = 2", "-w 4");
        assert_eq!(found.workers, Setting { value: Some(4), source: Source::CommandLine });
        assert_eq!(found.threads.value, Some(3));
        assert_eq!(found.timeout, Setting { value: Some(2), source: Source::File });
        assert_eq!(found.keepalive, Setting { value: Some(2), source: Source::Default });
    }

    #[test]
    fn all_binds_of_one_source_count() {
        let found = settings("-b 1.1.1.1:1", "", "-b a:1 -b unix:/x,b:2");
        assert_eq!(found.bind.value.unwrap(), ["a:1", "unix:/x", "b:2"]);
    }

    #[test]
    fn capacity_is_known_for_classes_with_a_bound() {
        let capacity = |line: &str| settings("", "", line).capacity();
        assert_eq!(capacity("-w 4"), Some(4));
        assert_eq!(capacity("-w 4 --threads 8"), Some(32));
        assert_eq!(capacity("-w 4 --threads 8 -k gthread"), Some(32));
        assert_eq!(capacity("-w 4 -k gevent"), None);
        assert_eq!(capacity("-w 4 -k uvicorn.workers.UvicornWorker"), None);
        assert_eq!(capacity("-w 4 -k my.Own"), None);
        assert_eq!(capacity("-w many"), None);
    }

    #[test]
    fn the_socket_it_is_controlled_by_is_none_to_send_requests_to() {
        let is = |line: &str, path: &str| settings("", "", line).is_control_socket(path);
        assert!(is("", "/run/user/1000/gunicorn.ctl") && !is("", "/run/gunicorn/app.sock"));
        assert!(is("--control-socket /run/x.sock", "/run/x.sock"));
        assert!(!is("--control-socket /run/x.sock", "/run/xx.sock"));
    }

    #[test]
    fn what_a_file_computes_is_not_known() {
        let found = settings("", "workers = cpu_count()", "");
        assert_eq!(found.workers, Setting { value: None, source: Source::File });
        assert_eq!(found.capacity(), None);
    }
}
