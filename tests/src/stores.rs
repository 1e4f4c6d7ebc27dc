//! Which instructions of x86_64 store nothing but to their stack.
//!
//! It knows those that compilers use most, and says of every other that it may store:
//! Intel's manual, volume 2, appendix A has the map of opcodes.

/// Whether the instruction that these bytes begin with may store to memory that is not at
/// the top of its stack.
pub fn may_store(bytes: [u8; 8]) -> bool {
    let prefixes = |byte: &&u8| matches!(byte, 0x66 | 0xf2 | 0xf3 | 0x40..=0x4f);
    let prefixed = bytes.iter().take_while(prefixes).count();
    let code = &bytes[prefixed..];
    let (opcode, rest) = match code {
        [0x0f, opcode, rest @ ..] => (0x0f00 | u16::from(*opcode), rest),
        [opcode, rest @ ..] => (u16::from(*opcode), rest),
        [] => return true,
    };
    let Some(&operands) = rest.first() else {
        return true;
    };
    let among_registers = operands >> 6 == 3;
    match opcode {
        // Arithmetic: to memory or a register, to a register, to the accumulator.
        // Between them lie prefixes of segments, by which something else begins.
        0x00..=0x3f if opcode & 7 >= 6 => true,
        0x00..=0x3f => !(matches!(opcode & 7, 2..=5) || opcode >= 0x38 || among_registers),
        // Of an immediate, moves to memory, shifts, increments.
        0x80..=0x83 | 0x88 | 0x89 | 0xc0 | 0xc1 | 0xd0..=0xd3 | 0xfe => {
            !(among_registers || matches!(opcode, 0x80..=0x83) && operands >> 3 & 7 == 7)
        }
        // Tests, multiplications and divisions; calls, jumps and pushes.
        0xf6 | 0xf7 => !(among_registers || matches!(operands >> 3 & 7, 0 | 4..=7)),
        0xff => !(among_registers || matches!(operands >> 3 & 7, 2..=6)),
        // Pushes, pops, loads, branches, returns, immediates to registers.
        0x50..=0x5f | 0x63 | 0x68..=0x6b | 0x70..=0x7f | 0x84 | 0x85 | 0x8a | 0x8b | 0x8d => false,
        0x90..=0x99 | 0xa8 | 0xa9 | 0xb0..=0xbf | 0xc2 | 0xc3 | 0xc9 | 0xe8 | 0xe9 | 0xeb => false,
        // Vectors to registers, conditional moves and branches, bit tests, extensions.
        0x0f10 | 0x0f28 | 0x0f57 | 0x0f6e | 0x0f6f | 0x0fef | 0x0f1e | 0x0f1f => false,
        0x0f40..=0x0f4f | 0x0f80..=0x0f8f | 0x0fa3 | 0x0faf | 0x0fb6..=0x0fb8 => false,
        0x0fbc..=0x0fbf => false,
        0x0f90..=0x0f9f => !among_registers,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &[u8]) -> bool {
        let mut bytes = [0x90; 8];
        bytes[..code.len()].copy_from_slice(code);
        may_store(bytes)
    }

    #[test]
    fn what_stores_is_never_passed_over() {
        let stores: [&[u8]; 16] = [
            &[0x48, 0x89, 0x08],             // mov [rax], rcx
            &[0x48, 0x89, 0x4c, 0xc7, 0x08], // mov [rdi+rax*8+8], rcx
            &[0x48, 0x87, 0x08],             // xchg [rax], rcx
            &[0xf0, 0x48, 0x0f, 0xb1, 0x0a], // lock cmpxchg [rdx], rcx
            &[0xf0, 0x48, 0x0f, 0xc1, 0x08], // lock xadd [rax], rcx
            &[0x48, 0xc7, 0x00, 1, 0, 0, 0], // mov qword [rax], 1
            &[0x0f, 0x11, 0x00],             // movups [rax], xmm0
            &[0xf3, 0x48, 0xab],             // rep stosq
            &[0xf3, 0xa4],                   // rep movsb
            &[0x48, 0x01, 0x08],             // add [rax], rcx
            &[0x48, 0x83, 0x00, 0x01],       // add qword [rax], 1
            &[0x48, 0xff, 0x00],             // inc qword [rax]
            &[0xc5, 0xfe, 0x7f, 0x00],       // vmovdqu [rax], ymm0
            &[0x0f, 0x94, 0x00],             // sete [rax]
            // Prefixes of segments: volume 2, section 2.1.1, group 2.
            &[0x3e, 0x48, 0x89, 0x08],       // mov ds:[rax], rcx
            &[0x2e, 0xc7, 0x00, 1, 0, 0, 0], // mov dword cs:[rax], 1
        ];
        stores
            .iter()
            .for_each(|code| assert!(of(code), "{code:x?}"));
    }

    #[test]
    fn what_loads_and_computes_is() {
        let others: [&[u8]; 12] = [
            &[0x48, 0x8b, 0x08],       // mov rcx, [rax]
            &[0x48, 0x89, 0xc8],       // mov rax, rcx
            &[0x48, 0x03, 0x08],       // add rcx, [rax]
            &[0x48, 0x39, 0x08],       // cmp [rax], rcx
            &[0x48, 0x83, 0x38, 0x01], // cmp qword [rax], 1
            &[0x48, 0x8d, 0x04, 0xc7], // lea rax, [rdi+rax*8]
            &[0xff, 0x50, 0x18],       // call [rax+24]
            &[0xf6, 0x00, 0x01],       // test byte [rax], 1
            &[0x41, 0x57],             // push r15
            &[0x0f, 0x84, 0, 0, 0, 0], // je
            &[0x48, 0x0f, 0xaf, 0xc1], // imul rax, rcx
            &[0x0f, 0x10, 0x00],       // movups xmm0, [rax]
        ];
        others
            .iter()
            .for_each(|code| assert!(!of(code), "{code:x?}"));
    }
}
