//! What is read from outside a proxy: its CPU time, its memory, its system calls.

pub(crate) mod cpu;
pub(crate) mod memory;
pub(crate) mod syscalls;
