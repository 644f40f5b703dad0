//! Blocks in the tile registers of AMX (Sapphire Rapids and later).
//!
//! Rust has no stable intrinsics for them, so the loop over the depth is assembly.

use super::super::Isa;
use super::super::isa::cpuid;
use super::Precision;
use super::operand::{DEPTH, LINES};
use super::product::{Block, Multiplier, Sums};
use std::arch::asm;
use std::sync::OnceLock;

pub(super) struct Amx;

super::product::tile_kernels!(Isa::Amx, Amx, pays);

/// See [`super::TileKernels::pays`].
fn pays(precision: Precision, classes: usize) -> bool {
    match precision {
        Precision::Split => classes > 16,
        Precision::Bf16 => classes >= 8,
    }
}

/// Whether the machine has AMX for bf16 and the system lets this process use it. Asks for the permission, which holds
/// for all threads of the process.
pub(in super::super) fn available() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    super::dot::available() && *PERMITTED.get_or_init(|| has_tiles() && request_tile_data())
}

/// CPUID says that the processor has the instructions, XCR0 that the system saves the registers.
fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const XCR0_TILES: u32 = 0b11 << 17;
    if cpuid(0).eax < 7 {
        return false;
    }
    let features = cpuid(7).edx;
    let low: u32;
    // SAFETY: AVX-512 is in use on this system, so XGETBV exists.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack)) };
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && low & XCR0_TILES == XCR0_TILES
}

/// Asks Linux for the tile registers, whose 8 KiB of state a process gets on demand only.
fn request_tile_data() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that touches no memory of the process; it overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

/// Layout of the tile registers: palette 1, eight tiles of 16 lines of 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    lines: [u8; 16],
}

static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    line_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    lines: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Loops over the depth of a block with the given instructions a step. Sums are in tmm0 to tmm3, two columns of tiles
/// by two rows; tmm4 and tmm5 are for the left operand, tmm6 and tmm7 for the right.
macro_rules! over_depth {
    ($block:expr, $sums:expr, $bytes:literal, $($instruction:literal)*) => {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            $($instruction,)*
            concat!("add {a0}, ", $bytes), concat!("add {a1}, ", $bytes),
            concat!("add {b0}, ", $bytes), concat!("add {b1}, ", $bytes),
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line} * 2], tmm0",
            "tilestored [{sums} + {line} * 2 + 64], tmm1",
            "tilestored [{sums} + {line} * 2 + 2048], tmm2",
            "tilestored [{sums} + {line} * 2 + 2112], tmm3",
            a0 = inout(reg) $block.a[0].as_ptr() => _, a1 = inout(reg) $block.a[1].as_ptr() => _,
            b0 = inout(reg) $block.b[0].as_ptr() => _, b1 = inout(reg) $block.b[1].as_ptr() => _,
            steps = inout(reg) $block.steps => _,
            line = in(reg) 64usize, sums = in(reg) $sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Multiplier for Amx {
    unsafe fn begin() {
        // SAFETY: the configuration is 64 valid bytes; AMX is available by contract.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) }
    }

    unsafe fn end() {
        // SAFETY: AMX is available by contract.
        unsafe { asm!("tilerelease", options(nomem, nostack)) }
    }

    unsafe fn multiply_adds(rounds: usize) -> u64 {
        if rounds == 0 {
            return 0;
        }
        // SAFETY: the registers are configured and AMX is available by contract; tiles are zeroed before use.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4", "tilezero tmm6",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm4, tmm6",
                "tdpbf16ps tmm3, tmm4, tmm6",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm6") _,
                options(nostack),
            );
        }
        (4 * 2 * LINES * LINES * DEPTH * rounds) as u64
    }

    unsafe fn multiply(block: &Block<'_>, sums: &mut Sums) {
        let length = block.steps * block.parts;
        assert!(block.steps > 0 && block.a.iter().chain(&block.b).all(|tiles| tiles.len() == length));
        let sums: *mut Sums = sums;
        // SAFETY: each pointer is followed by steps x parts tiles, of which a step reads `parts`; the stores fill the 32
        // lines of 128 bytes of `sums`. The registers are configured and AMX is available by contract.
        unsafe {
            match (block.parts, block.tall, block.wide) {
                (1, true, true) => over_depth!(block, sums, "1024",
                    "tileloadd tmm4, [{a0} + {line}]"
                    "tileloadd tmm6, [{b0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{b1} + {line}]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm5, [{a1} + {line}]"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"),
                (1, true, false) => over_depth!(block, sums, "1024",
                    "tileloadd tmm4, [{a0} + {line}]"
                    "tileloadd tmm6, [{b0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [{a1} + {line}]"
                    "tdpbf16ps tmm2, tmm5, tmm6"),
                (1, false, _) => over_depth!(block, sums, "1024",
                    "tileloadd tmm4, [{a0} + {line}]"
                    "tileloadd tmm6, [{b0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{b1} + {line}]"
                    "tdpbf16ps tmm1, tmm4, tmm7"),
                // Small products first within a step: low x high, then high x high, high x low with tiles that are
                // loaded already.
                (_, true, true) => over_depth!(block, sums, "2048",
                    "tileloadd tmm4, [{a0} + {line} + 1024]"
                    "tileloadd tmm6, [{b0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{b1} + {line}]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm5, [{a1} + {line} + 1024]"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"
                    "tileloadd tmm4, [{a0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm5, [{a1} + {line}]"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"
                    "tileloadd tmm6, [{b0} + {line} + 1024]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{b1} + {line} + 1024]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"),
                (_, true, false) => over_depth!(block, sums, "2048",
                    "tileloadd tmm4, [{a0} + {line} + 1024]"
                    "tileloadd tmm6, [{b0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [{a1} + {line} + 1024]"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tileloadd tmm4, [{a0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [{a1} + {line}]"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tileloadd tmm6, [{b0} + {line} + 1024]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm2, tmm5, tmm6"),
                (_, false, _) => over_depth!(block, sums, "2048",
                    "tileloadd tmm4, [{a0} + {line} + 1024]"
                    "tileloadd tmm6, [{b0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{b1} + {line}]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm4, [{a0} + {line}]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm6, [{b0} + {line} + 1024]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{b1} + {line} + 1024]"
                    "tdpbf16ps tmm1, tmm4, tmm7"),
            }
        }
    }
}
