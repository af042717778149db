//! The real binary: exit codes, what goes where, color.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn tollgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    tollgate(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A file of the test's own, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("tollgate-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_correct_file_is_told_on_standard_output() {
    let output = run(&["check", "config/minimal.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "tollgate: `config/minimal.toml` is correct\n");
    assert!(output.stderr.is_empty());
}

#[test]
fn every_wrong_file_is_told_and_the_others_as_well() {
    let wrong = "tests/messages/choices.toml";
    let output = run(&["check", wrong, "config/minimal.toml", "no-such.toml", "config"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(text(&output.stdout), "tollgate: `config/minimal.toml` is correct\n");
    let told = text(&output.stderr);
    assert!(told.contains("--> tests/messages/choices.toml:3:10"), "{told}");
    assert!(told.contains("error: cannot read `no-such.toml`: there is no such file\n"), "{told}");
    assert!(told.contains("error: cannot read `config`: it is a directory\n"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
}

#[test]
fn run_tells_the_same_problems_as_check() {
    let path = "tests/messages/choices.toml";
    let (run, check) = (run(&["run", "--config", path]), run(&["check", path]));
    assert_eq!(run.status.code(), Some(78));
    assert_eq!(text(&run.stderr), text(&check.stderr));
    assert!(run.stdout.is_empty());
}

#[test]
fn run_without_an_app_says_what_to_do() {
    let output = run(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("--config") && told.contains("--upstream"), "{told}");
}

#[test]
fn wrong_options_are_wrong_configuration() {
    let output = run(&["run", "--upstream", "localhost"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("`--upstream` has no port"));
}

#[test]
fn no_subcommand_is_wrong_use_and_shows_the_help() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: tollgate"));
    assert!(output.stdout.is_empty());
}

#[test]
fn help_and_version_are_what_was_asked_for() {
    for (option, told) in [("--help", "Exit codes:"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = run(&[option]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(told));
    }
}

#[test]
fn the_printed_configuration_is_correct_itself() {
    let layers = ["check", "--print", "--config", "config/base.toml", "--config", "config/production.toml"];
    let printed = run(&layers);
    assert!(text(&printed.stdout).contains("# config/production.toml:"), "{}", text(&printed.stderr));
    let again = Scratch::new("printed.toml", &printed.stdout);
    let output = run(&["check", again.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let both = run(&["check", "--print", "config/minimal.toml", again.path()]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn variables_come_from_the_environment() {
    let file = Scratch::new("variable.toml", b"upstream.address = \"app:${TOLLGATE_TEST_PORT}\"\n");
    let output =
        tollgate(&["check", "--print", file.path()]).env("TOLLGATE_TEST_PORT", "8123").output().unwrap();
    let told = text(&output.stdout);
    let line = told.lines().find(|line| line.starts_with("address = \"app:8123\""));
    assert!(line.is_some_and(|line| line.ends_with("# line 1, from ${TOLLGATE_TEST_PORT}")), "{told}");
    let unset = run(&["check", file.path()]);
    assert_eq!(unset.status.code(), Some(78));
    assert!(text(&unset.stderr).contains("`TOLLGATE_TEST_PORT` is not set"));
}

#[test]
fn files_that_are_no_text_are_told_with_the_place() {
    let file = Scratch::new("latin1.toml", b"[log]\nlevel = \"caf\xe9\"\n");
    let output = run(&["check", file.path()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("latin1.toml:2:13"));
}

/// Standard output and standard error of a check that must not fail.
fn checked(text_of_file: &str, name: &str, variables: &[(&str, &str)]) -> (String, String) {
    let app = "[upstream]\naddress = \"app:80\"\n[log]\naccess = \"off\"\n";
    let file = Scratch::new(name, format!("{app}{text_of_file}").as_bytes());
    let output = tollgate(&["check", file.path()]).envs(variables.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let without_path = |bytes: &[u8]| text(bytes).replace(file.path(), "FILE");
    (without_path(&output.stdout), without_path(&output.stderr))
}

#[test]
fn what_cloudwatch_will_bill_is_told() {
    let routes: String =
        (0..5).map(|number| format!("[[routes]]\nname = \"r{number}\"\nmatch = \"/{number}\"\n")).collect();
    let (told, warned) = checked(&format!("[emf]\n{routes}"), "bill.toml", &[]);
    let forecast =
        "makes up to 42 custom metrics in CloudWatch, about 12.60 USD a month, and logs at 0.50 USD a GB";
    assert_eq!(told, format!("tollgate: `FILE` is correct\ntollgate: `FILE` {forecast}\n"));
    assert_eq!(warned, "");
    let prices = "[cloudwatch]\nmetric_price = 1\nlog_price = 0.575\nmetric_budget = 41\n";
    let (told, warned) = checked(&format!("[emf]\n{prices}{routes}"), "budget.toml", &[]);
    assert!(told.ends_with("about 42.00 USD a month, and logs at 0.57 USD a GB\n"), "{told}");
    assert!(warned.starts_with("warning: `FILE` makes up to 42 custom metrics"), "{warned}");
    assert!(warned.contains("more than `metric_budget`, 41\nhelp: drop the set with `Route`"), "{warned}");
    let (told, _) = checked("[emf]\n", "off.toml", &[("AWS_EMF_DISABLE_METRIC_EXTRACTION", "true")]);
    assert!(told.contains("makes no custom metrics in CloudWatch"), "{told}");
    assert_eq!(checked("", "none.toml", &[]).0, "tollgate: `FILE` is correct\n");
}

#[test]
fn the_environment_of_the_aws_libraries_is_read_with_a_table_of_emf_only() {
    let wrong = [("AWS_EMF_NAMESPACE", "AWS/mine")];
    assert_eq!(checked("", "silent.toml", &wrong).0, "tollgate: `FILE` is correct\n");
    let file = Scratch::new("emf.toml", b"upstream.address = \"app:80\"\nlog.access = \"off\"\n[emf]\n");
    let output = tollgate(&["check", file.path()]).envs(wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("error: `AWS_EMF_NAMESPACE` cannot begin with"));
    let right = [("AWS_EMF_NAMESPACE", "Mine")];
    let output = tollgate(&["check", "--print", file.path()]).envs(right).output().unwrap();
    let told = text(&output.stdout);
    let line = told.lines().find(|line| line.starts_with("namespace = \"Mine\""));
    assert!(line.is_some_and(|line| line.ends_with("# from the environment, AWS_EMF_NAMESPACE")), "{told}");
}

#[test]
fn a_secret_is_neither_told_nor_printed() {
    let secret = "hunter2-hunter2-hunter2";
    let file = format!("upstream.address = \"app:80\"\n[admin]\ntoken = \"{secret}\"\nnope = 1\n");
    let wrong = Scratch::new("wrong-secret.toml", file.as_bytes());
    let right = Scratch::new("secret.toml", file.replace("nope = 1\n", "").as_bytes());
    for (file, code) in [(wrong, 78), (right, 0)] {
        let output = run(&["check", "--print", file.path()]);
        assert_eq!(output.status.code(), Some(code));
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!told.contains("hunter2") && told.len() > 100, "{told}");
    }
}

#[test]
fn a_device_without_an_end_is_not_read_forever() {
    let output = run(&["check", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("it is larger than 16MiB"));
}

#[test]
fn color_is_for_those_who_ask() {
    let wrong = ["check", "tests/messages/choices.toml"];
    let colored = |name: &str, value: &str| {
        let output = tollgate(&wrong).env(name, value).output().unwrap();
        text(&output.stderr).contains('\u{1b}')
    };
    assert!(colored("CLICOLOR_FORCE", "1"));
    assert!(!colored("CLICOLOR_FORCE", "0"));
    let both = tollgate(&wrong).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().unwrap();
    assert!(!text(&both.stderr).contains('\u{1b}'));
}

#[test]
fn a_reader_that_left_is_no_error() {
    for arguments in
        [&["man"][..], &["completions", "bash"], &["--help"], &["check", "--print", "config/tollgate.toml"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = tollgate(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

#[test]
fn the_manual_page_and_every_completion_name_the_subcommands() {
    let mut texts = vec![run(&["man"]).stdout];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        texts.push(run(&["completions", shell]).stdout);
    }
    for told in texts {
        let told = text(&told);
        for name in ["run", "check", "init", "doctor", "completions", "upstream", "print"] {
            assert!(told.contains(name), "`{name}` is not in {told}");
        }
    }
}

#[test]
fn files_of_config_are_one_configuration_and_other_files_are_each_a_whole() {
    let base = Scratch::new("base.toml", b"upstream.address = \"app:80\"\nlog.access = \"off\"\n");
    let over = Scratch::new("over.toml", b"[log]\nlevel = \"debug\"\n");
    let together = run(&["check", "--config", base.path(), "--config", over.path()]);
    assert_eq!(together.status.code(), Some(0), "{}", text(&together.stderr));
    let names = format!("`{}` + `{}`", base.path(), over.path());
    assert_eq!(text(&together.stdout), format!("tollgate: {names} is correct\n"));
    let apart = run(&["check", base.path(), over.path()]);
    assert_eq!(apart.status.code(), Some(78), "the second alone has no app");
    assert_eq!(text(&apart.stdout), format!("tollgate: `{}` is correct\n", base.path()));
    let both = run(&["check", base.path(), "--config", over.path()]);
    assert_eq!(both.status.code(), Some(2));
    let missing =
        run(&["run", "--config", "no-such.toml", "--config", base.path(), "--config", "nor-this.toml"]);
    assert_eq!(missing.status.code(), Some(78));
    let told = text(&missing.stderr);
    assert!(told.contains("`no-such.toml`") && told.contains("`nor-this.toml`"), "{told}");
}

#[test]
fn a_secret_of_no_file_is_told() {
    let secret = "hunter2-hunter2-hunter2";
    let base = format!("upstream.address = \"app:80\"\nadmin = {{ token = \"{secret}\", nope = 1 }}\n");
    let base = Scratch::new("secret-base.toml", base.as_bytes());
    let over = format!("[admin]\ntoken = \"${{NO_SUCH_TOKEN}} {secret}\"\n");
    let over = Scratch::new("secret-over.toml", over.as_bytes());
    let output = run(&["check", "--print", "-c", base.path(), "-c", over.path()]);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(told.contains("`nope`") && told.contains("NO_SUCH_TOKEN") && !told.contains("hunter2"), "{told}");
}

#[test]
fn explain_reads_all_files() {
    let base = Scratch::new(
        "explain-base.toml",
        b"upstream.address = \"app:80\"\n[[routes]]\nname = \"one\"\nmatch = \"/*\"\n",
    );
    let over = Scratch::new("explain-over.toml", b"[[routes]]\nname = \"two\"\nmatch = \"/two\"\n");
    let output = run(&["explain", "/two", "--config", base.path(), "-c", over.path()]);
    assert!(text(&output.stdout).contains("two, by `/two`"), "{}", text(&output.stdout));
}
