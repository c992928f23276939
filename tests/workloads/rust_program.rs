// rust_program: rust_leaf <- rust_program::Chain::rust_step <- rust_caller <- main; built with
// panics that unwind and with panics that abort.
use std::arch::asm;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigterm(_signal: i32) {
    STOPPED.store(true, Ordering::Relaxed);
}

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

#[inline(never)]
#[no_mangle]
pub fn rust_leaf(turns: u64) {
    for _ in 0..turns {
        unsafe { asm!("imul {0}, {0}", inout(reg) 3u64 => _) };
    }
}

pub trait Step {
    fn rust_step(&self, turns: u64) -> u64;
}

struct Chain {
    next: u64,
}

impl Step for Chain {
    #[inline(never)]
    fn rust_step(&self, turns: u64) -> u64 {
        rust_leaf(turns);
        std::hint::black_box(self.next + 1)
    }
}

#[inline(never)]
#[no_mangle]
pub fn rust_caller(step: &dyn Step) -> u64 {
    let mut sum = 0;
    for _ in 0..10 {
        sum += step.rust_step(90_000);
    }
    sum
}

fn main() {
    unsafe { signal(15, on_sigterm) };
    println!("ready");
    std::io::stdout().flush().unwrap();
    let chain = std::hint::black_box(Chain { next: 1 });
    while !STOPPED.load(Ordering::Relaxed) {
        std::hint::black_box(rust_caller(&chain));
    }
}
