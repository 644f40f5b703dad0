//! Instruction sets: names, and what this machine offers.

/// A level of vector instructions that the kernels are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust in groups of four lanes; runs everywhere and contracts no multiply and add.
    Scalar,
    /// 128-bit vectors of aarch64, fused multiply-add.
    Neon,
    /// 256-bit vectors of x86-64 with FMA and F16C.
    Avx2,
    /// 512-bit vectors of x86-64 (the F subset is enough).
    Avx512,
    /// AVX-512 with BW, and BF16 for [`super::Kernels::tiles`].
    Avx512Bf16,
    /// AVX-512 as above, and the tile registers of AMX for [`super::Kernels::tiles`]; on Linux.
    Amx,
}

impl Isa {
    /// All levels, slowest first.
    pub const ALL: [Isa; 6] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// The fastest level this machine has.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.available()).unwrap_or(Isa::Scalar)
    }

    /// The level called `name` (see [`Isa::name`]); it may be absent from this machine.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// `"scalar"`, `"neon"`, `"avx2"`, `"avx512"`, `"avx512bf16"` or `"amx"`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
        }
    }

    /// Whether this machine and its operating system support the level.
    pub fn available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Neon => cfg!(target_arch = "aarch64"), // part of the base architecture
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx2() && std::arch::is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => super::tiles::dot::available(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx => super::tiles::amx::available(),
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            Isa::Amx => false,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => false,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c")
}

/// What the processor says of itself under `leaf`, the first part of it.
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe)] // safe from some compiler version on
pub(super) fn cpuid(leaf: u32) -> std::arch::x86_64::CpuidResult {
    // SAFETY: every processor of this architecture has CPUID.
    unsafe { std::arch::x86_64::__cpuid_count(leaf, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("AVX2"), None);
    }

    #[test]
    fn the_best_level_is_available_and_none_above_it_is() {
        let best = Isa::best();
        assert!(best.available());
        assert!(Isa::ALL.into_iter().all(|isa| isa <= best || !isa.available()));
    }
}
