//! How much a thread holds, and has held.

#![expect(unsafe_code, reason = "an allocator is")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes held now, and the most since [`begin`]. Below zero: what another thread had allocated was freed here.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Counts what each thread holds.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn change(by: isize) {
    // A thread that ends allocates, too.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + by, most.max(now + by)));
    });
}

// SAFETY: the system's allocator does it all; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(layout.size().cast_signed());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        change(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What this thread holds.
pub fn begin() -> isize {
    HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    })
}

/// How much more than `before` it has held at a time since it was asked.
pub fn most_since(before: isize) -> usize {
    HELD.with(|held| (held.get().1 - before).max(0).cast_unsigned())
}

#[test]
fn what_is_held_for_a_moment_counts() {
    let before = begin();
    drop(std::hint::black_box(vec![0_u8; 100_000]));
    let most = most_since(before);
    assert!((100_000..200_000).contains(&most), "{most}");
}
