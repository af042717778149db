//! Every command in the documents for operators is run, in order, on a host of its own: tests/operators/walk.py.

use std::process::Command;

use crate::harness::tollgate::binary;

const DOCUMENTS: [&str; 6] =
    ["operations.md", "production-checklist.md", "runbook.md", "security.md", "upgrading.md", "cost.md"];

fn walk(document: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/target/venv/bin/python3"));
    command
        .arg(format!("{root}/tests/operators/walk.py"))
        .arg(binary())
        .arg(format!("{root}/docs/{document}"));
    let walked = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&walked.stdout), String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{said}");
}

#[test]
fn every_command_of_the_operators_documents_works_as_it_stands() {
    for document in DOCUMENTS {
        walk(document);
    }
}
