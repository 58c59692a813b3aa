//! The entry of a re-executed child: before `main`, before libtest, while there is one thread.

/// Names the function that builds this program's [`App`](crate::App). One item in the crate of
/// each binary (`main.rs`, a test file, a bench).
///
/// In a child that the engine started it takes the process over before `main`; in every other
/// process it costs one look at the environment. It compiles under `#![forbid(unsafe_code)]`.
///
/// ```
/// #![forbid(unsafe_code)]
/// amphi::app!(app);
///
/// fn app() -> amphi::App {
///     amphi::App::new()
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! app {
    ($app:path) => {
        const _: () = {
            #[used]
            #[cfg_attr(
                any(target_os = "linux", target_os = "android", target_os = "freebsd"),
                unsafe(link_section = ".init_array")
            )]
            #[cfg_attr(windows, unsafe(link_section = ".CRT$XCU"))]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
            static ENTRY: extern "C" fn() = {
                extern "C" fn enter() {
                    $crate::__private::enter($app)
                }
                enter
            };
        };
    };
}
