//! What this machine is, for the reader of a result. Everything comes from `/proc`; what it does
//! not say is the empty text or 0, never a reason to fail a run.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine the generator ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `model name` of the first processor.
    pub cpu_model: String,
    /// Processors this process may run on.
    pub cpus: u64,
    /// Total memory, bytes.
    pub memory_bytes: u64,
    /// Kernel name and release.
    pub kernel: String,
    /// Instruction set, as the compiler names it.
    pub architecture: String,
}

impl Machine {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        Self {
            cpu_model: cpu_model(&read("/proc/cpuinfo")),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            kernel: format!("Linux {}", release.trim()),
            architecture: std::env::consts::ARCH.to_owned(),
        }
    }
}

fn cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or_else(String::new, |(_, model)| model.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::{Machine, cpu_model, memory_bytes};

    #[test]
    fn the_kernel_s_texts_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nprocessor\t: 1\n";
        assert_eq!(cpu_model(cpuinfo), "Fast CPU @ 3 GHz");
        assert_eq!(cpu_model("processor : 0"), "");
        assert_eq!(memory_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"), 16_384);
        assert_eq!(memory_bytes("MemTotal: much"), 0);
    }

    #[test]
    fn this_machine_has_a_processor_and_a_kernel() {
        let machine = Machine::read();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0);
        assert!(machine.kernel.len() > "Linux ".len());
    }
}
