//! What one input may cost: the processor's time, and the most bytes on the heap at once.
//!
//! A reader that is slow or large in proportion to what it is given is a way to bring a node down with one request,
//! so both are asserted for every input. The count is exact and belongs to the thread that reads; the limit of a
//! whole process (`-rss_limit_mb`) stands behind it. Left out: stack, which ends the process by itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counted;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // Allocations while a thread ends are nobody's input.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing and cannot unwind.
#[allow(unsafe_code, reason = "counting allocations is an allocator's work")]
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What reading one input took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Of this thread alone.
    pub cpu: Duration,
    /// The most on the heap at once, beyond what was there before.
    pub heap_bytes_max: usize,
}

/// Runs `read` and says what it took.
pub fn measured(read: impl FnOnce()) -> Cost {
    let before = NOW.get();
    MOST.set(before);
    let started = cpu();
    read();
    Cost { cpu: cpu().saturating_sub(started), heap_bytes_max: (MOST.get() - before).max(0) as usize }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_seen_and_what_was_there_before_is_not() {
        let _before = vec![1_u8; 1 << 20];
        let cost = measured(|| {
            drop(std::hint::black_box(vec![1_u8; 300_000]));
            drop(std::hint::black_box(vec![1_u8; 100_000]));
        });
        assert!((300_000..400_000).contains(&cost.heap_bytes_max), "{cost:?}");
    }
}
