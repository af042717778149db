//! CloudWatch, against moto's server: what is sent arrives and adds up, what is applied is there, and what is wrong is
//! found. What moto does not have (log groups of another class, refusals, another time) comes from an endpoint of
//! [`crate::harness::aws`].

mod apply;
mod deploy;
mod doctor;
mod logs;
mod push;

use std::process::Command;

use crate::harness::aws::environment;
use crate::harness::tollgate::binary;

/// Runs `tollgate cloudwatch` against an endpoint: exit code, standard output, standard error.
fn tollgate(endpoint: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.arg("cloudwatch").args(arguments).envs(environment(endpoint)).stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
