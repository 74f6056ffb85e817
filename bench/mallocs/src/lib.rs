//! Counts the allocations of a server, exactly: preloaded (`LD_PRELOAD`) into a program linked to
//! glibc, it adds one for each `malloc`, `calloc`, `realloc` and aligned allocation, and one for
//! each `free`, to a shared page that the measuring process reads at any time. `bench/exact` takes
//! the difference over a known number of requests.
//!
//! Without `MALLOCS_PAGE` (a file of at least 16 bytes) in the environment it only forwards.

use core::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The shared page: allocations, then frees.
#[repr(C)]
struct Page {
    allocations: AtomicU64,
    frees: AtomicU64,
}

/// Counts into nowhere until the constructor has mapped the shared page.
static NOWHERE: Page = Page {
    allocations: AtomicU64::new(0),
    frees: AtomicU64::new(0),
};
static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(old: *mut c_void);
}

fn page() -> &'static Page {
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: either null, or a mapping of a whole page that is never removed.
    if page.is_null() {
        &NOWHERE
    } else {
        unsafe { &*page }
    }
}

fn count_allocation() {
    page().allocations.fetch_add(1, Ordering::Relaxed);
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = map_page;

/// Runs before `main`; allocates nothing.
extern "C" fn map_page() {
    // SAFETY: plain libc calls with a NUL-terminated name from the environment; the mapping is
    // used only when it succeeded, and holds at least a page of the file's 16 bytes.
    unsafe {
        let path = libc::getenv(c"MALLOCS_PAGE".as_ptr());
        if path.is_null() {
            return;
        }
        let file = libc::open(path, libc::O_RDWR | libc::O_CLOEXEC);
        if file < 0 {
            libc::abort();
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let at = libc::mmap(
            std::ptr::null_mut(),
            4096,
            protection,
            libc::MAP_SHARED,
            file,
            0,
        );
        libc::close(file);
        if at == libc::MAP_FAILED {
            libc::abort();
        }
        PAGE.store(at.cast(), Ordering::Release);
    }
}

/// # Safety
/// As malloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count_allocation();
    // SAFETY: the caller's promise is malloc's own.
    unsafe { __libc_malloc(size) }
}

/// # Safety
/// As calloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    count_allocation();
    // SAFETY: the caller's promise is calloc's own.
    unsafe { __libc_calloc(count, size) }
}

/// # Safety
/// As realloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    count_allocation();
    // SAFETY: the caller's promise is realloc's own.
    unsafe { __libc_realloc(old, size) }
}

/// # Safety
/// As aligned_alloc(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    count_allocation();
    // SAFETY: the caller's promise is aligned_alloc's own.
    unsafe { __libc_memalign(align, size) }
}

/// # Safety
/// As memalign(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    count_allocation();
    // SAFETY: the caller's promise is memalign's own.
    unsafe { __libc_memalign(align, size) }
}

/// # Safety
/// As posix_memalign(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    count_allocation();
    // SAFETY: the caller's promise is posix_memalign's own: `out` may be written.
    unsafe {
        let memory = __libc_memalign(align, size);
        if memory.is_null() {
            return libc::ENOMEM;
        }
        *out = memory;
    }
    0
}

/// # Safety
/// As free(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(old: *mut c_void) {
    if !old.is_null() {
        page().frees.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller's promise is free's own.
    unsafe { __libc_free(old) }
}
