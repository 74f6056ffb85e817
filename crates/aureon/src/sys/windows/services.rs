//! Services of Windows: asking their manager for something, and being one.
//!
//! [`order`], [`install`] and [`status`] are what an operator's commands ask. [`enter`] is for the
//! process that the manager has started. There the manager's dispatcher has a thread of its own,
//! and what the manager calls the service's main function only reports: so that whoever calls
//! `enter` goes on on the thread he was on, as in every other process. Stop and shutdown come out
//! as [`Signal::Terminate`], a change of parameters as [`Signal::Hangup`].

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_CALL_NOT_IMPLEMENTED, ERROR_SERVICE_SPECIFIC_ERROR, FALSE, GetLastError, LocalFree,
    NO_ERROR,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    SetFileSecurityW,
};
use windows_sys::Win32::Storage::FileSystem::{CreateDirectoryW, DELETE};
use windows_sys::Win32::System::Console::{STD_ERROR_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle};
use windows_sys::Win32::System::Services as scm;
use windows_sys::core::{BOOL, PWSTR, w};

use super::signal::{Signal, arrive};
use crate::limits::{SERVICE_HINT_MS, SERVICE_REPORT_MS, SERVICE_RESTARTS_MS, WAITING_STACK_BYTES};
use crate::sys::thread;
pub use crate::sys::words::{Code, Order, Plan, State, Status};

/// Whether this system has a manager that starts services and is asked here.
pub const PRESENT: bool = true;

/// Seconds without a crash after which the next one counts as the first. A day, as Windows' own
/// services have it.
const CRASHES_FORGOTTEN_S: u32 = 86_400;

/// A text as Windows takes it, with a zero at its end.
pub(super) fn wide(text: &str) -> Vec<u16> {
    let mut out: Vec<u16> = Vec::with_capacity(text.len() + 1);
    text.encode_utf16().for_each(|unit| out.push(unit));
    out.push(0);
    out
}

pub(super) fn done(result: BOOL) -> Result<(), Code> {
    if result == FALSE {
        return Err(Code::last());
    }
    Ok(())
}

impl Code {
    /// Why the call before failed.
    pub(super) fn last() -> Code {
        // SAFETY: the thread's last error; no pointers.
        Code(unsafe { GetLastError() }.cast_signed())
    }
}

/// The manager or one of its services, open.
struct Handle(scm::SC_HANDLE);

impl Handle {
    fn new(raw: scm::SC_HANDLE) -> Result<Handle, Code> {
        if raw.is_null() {
            return Err(Code::last());
        }
        Ok(Handle(raw))
    }

    fn manager(access: u32) -> Result<Handle, Code> {
        // SAFETY: null names this machine and its one database.
        Handle::new(unsafe { scm::OpenSCManagerW(ptr::null(), ptr::null(), access) })
    }

    fn service(name: &str, access: u32) -> Result<Handle, Code> {
        let manager = Handle::manager(scm::SC_MANAGER_CONNECT)?;
        // SAFETY: the manager is open, and the name ends with a zero and lives across the call.
        Handle::new(unsafe { scm::OpenServiceW(manager.0, wide(name).as_ptr(), access) })
    }

    fn configure<T>(&self, level: u32, value: &T) -> Result<(), Code> {
        // SAFETY: the callers below give each level the structure that it is documented with, and
        // what that points to lives as long.
        done(unsafe { scm::ChangeServiceConfig2W(self.0, level, ptr::from_ref(value).cast()) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { scm::CloseServiceHandle(self.0) };
    }
}

/// Installs a service that starts with the machine, and again after a crash.
///
/// # Errors
///
/// There is one of that name, or this user may not install services.
pub fn install(plan: &Plan<'_>) -> Result<(), Code> {
    let manager = Handle::manager(scm::SC_MANAGER_CREATE_SERVICE)?;
    let [name, title, command, account] =
        [plan.name, plan.title, plan.command, plan.account].map(wide);
    // SAFETY: all four end with a zero and live across the call; null is "none" for the rest.
    let service = Handle::new(unsafe {
        scm::CreateServiceW(
            manager.0,
            name.as_ptr(),
            title.as_ptr(),
            scm::SERVICE_CHANGE_CONFIG | scm::SERVICE_START | DELETE,
            scm::SERVICE_WIN32_OWN_PROCESS,
            scm::SERVICE_AUTO_START,
            scm::SERVICE_ERROR_NORMAL,
            command.as_ptr(),
            ptr::null(),
            ptr::null_mut(),
            ptr::null(),
            account.as_ptr(),
            ptr::null(),
        )
    })?;
    let configured = configure(&service, plan);
    if configured.is_err() {
        // SAFETY: it is open. If this fails too, `remove` is left.
        unsafe { scm::DeleteService(service.0) };
    }
    configured
}

fn configure(service: &Handle, plan: &Plan<'_>) -> Result<(), Code> {
    let mut about = wide(plan.about);
    let description = scm::SERVICE_DESCRIPTIONW {
        lpDescription: about.as_mut_ptr(),
    };
    service.configure(scm::SERVICE_CONFIG_DESCRIPTION, &description)?;
    let mut actions = SERVICE_RESTARTS_MS.map(|delay_ms| scm::SC_ACTION {
        Type: scm::SC_ACTION_RESTART,
        Delay: delay_ms,
    });
    // They are for a process that ends without a word. One that says why it stopped is left alone,
    // as long as SERVICE_CONFIG_FAILURE_ACTIONS_FLAG is not set.
    let failures = scm::SERVICE_FAILURE_ACTIONSW {
        dwResetPeriod: CRASHES_FORGOTTEN_S,
        lpRebootMsg: ptr::null_mut(),
        lpCommand: ptr::null_mut(),
        cActions: actions.len() as u32,
        lpsaActions: actions.as_mut_ptr(),
    };
    service.configure(scm::SERVICE_CONFIG_FAILURE_ACTIONS, &failures)?;
    let shutdown = scm::SERVICE_PRESHUTDOWN_INFO {
        dwPreshutdownTimeout: plan.stop_ms,
    };
    service.configure(scm::SERVICE_CONFIG_PRESHUTDOWN_INFO, &shutdown)
}

/// Has the manager do something with a service. It does not wait until that is done.
///
/// # Errors
///
/// There is no such service, it is not in that state, or this user may not.
pub fn order(name: &str, order: Order) -> Result<(), Code> {
    let access = match order {
        Order::Start => scm::SERVICE_START,
        Order::Stop => scm::SERVICE_STOP,
        // SERVICE_CONTROL_PARAMCHANGE is sent with the same right as a pause.
        Order::Reload => scm::SERVICE_PAUSE_CONTINUE,
        Order::Remove => DELETE,
    };
    let service = Handle::service(name, access)?;
    let mut status = scm::SERVICE_STATUS::default();
    // SAFETY: the service is open with the right that each asks for; `status` lives across the
    // call; a service that is started without words has none to point to.
    done(unsafe {
        let mut control = |code| scm::ControlService(service.0, code, &raw mut status);
        match order {
            Order::Start => scm::StartServiceW(service.0, 0, ptr::null()),
            Order::Stop => control(scm::SERVICE_CONTROL_STOP),
            Order::Reload => control(scm::SERVICE_CONTROL_PARAMCHANGE),
            Order::Remove => scm::DeleteService(service.0),
        }
    })
}

/// How a service is.
///
/// # Errors
///
/// There is no such service.
pub fn status(name: &str) -> Result<Status, Code> {
    let service = Handle::service(name, scm::SERVICE_QUERY_STATUS)?;
    let mut found = scm::SERVICE_STATUS_PROCESS::default();
    let (bytes, mut needed) = (size_of_val(&found) as u32, 0);
    // SAFETY: pointer and length describe the local that this question is answered with.
    done(unsafe {
        let buffer = (&raw mut found).cast();
        let level = scm::SC_STATUS_PROCESS_INFO;
        scm::QueryServiceStatusEx(service.0, level, buffer, bytes, &raw mut needed)
    })?;
    Ok(Status {
        state: match found.dwCurrentState {
            scm::SERVICE_STOPPED => State::Stopped,
            scm::SERVICE_START_PENDING => State::Starting,
            scm::SERVICE_STOP_PENDING => State::Stopping,
            _ => State::Running,
        },
        checkpoint: found.dwCheckPoint,
        pid: found.dwProcessId,
        code: (found.dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR)
            .then_some(found.dwServiceSpecificExitCode),
        error: found.dwWin32ExitCode,
    })
}

/// Makes a directory that only those may use whom the descriptor names (in the manager's own
/// language, SDDL). One that is there already, whoever made it, is taken from him.
///
/// # Errors
///
/// It can not be made, or this user may not give it away.
pub fn own_directory(path: &str, descriptor: &str) -> Result<(), Code> {
    let path = wide(path);
    let mut security = ptr::null_mut();
    let parts = OWNER_SECURITY_INFORMATION
        | DACL_SECURITY_INFORMATION
        | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: both texts end with a zero. The descriptor is the system's memory, which it gave us
    // and which is given back once nothing points to it. Where no directory can be made there is
    // none to set anything of.
    unsafe {
        done(ConvertStringSecurityDescriptorToSecurityDescriptorW(
            wide(descriptor).as_ptr(),
            SDDL_REVISION_1,
            &raw mut security,
            ptr::null_mut(),
        ))?;
        CreateDirectoryW(path.as_ptr(), ptr::null());
        let set = done(SetFileSecurityW(path.as_ptr(), parts, security));
        LocalFree(security);
        set
    }
}

/// Whether standard error is a file that nobody else puts the time into.
pub fn is_redirected() -> bool {
    REDIRECTED.load(Ordering::Relaxed)
}

static REDIRECTED: AtomicBool = AtomicBool::new(false);

/// Has what is written to standard output and error go to a file, for good: a service has neither.
///
/// # Errors
///
/// The system refuses.
pub fn redirect(file: File) -> Result<(), Code> {
    // It is the process's from now on, and is never closed.
    let file = ManuallyDrop::new(file);
    for stream in [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: the handle stays open as long as the process lives.
        done(unsafe { SetStdHandle(stream, file.as_raw_handle()) })?;
    }
    REDIRECTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// What the manager is told about this process.
#[derive(Clone, Copy)]
struct Told {
    state: u32,
    code: u32,
}

/// A state that is none of the manager's: it is told nothing any more.
const ENDED: u32 = u32::MAX;

/// State 0 is none: this process is no service.
static TOLD: Mutex<Told> = Mutex::new(Told { state: 0, code: 0 });
static CHANGED: Condvar = Condvar::new();

fn told() -> MutexGuard<'static, Told> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Goes from some states into another; from others it stays as it is.
fn tell(from: impl FnOnce(u32) -> bool, state: u32, code: u32) {
    let mut told = told();
    if from(told.state) {
        *told = Told { state, code };
        CHANGED.notify_all();
    }
}

/// Tells the manager that this process is the service it has started.
///
/// # Errors
///
/// It was started by somebody else, or there is no thread left.
pub fn enter() -> Result<(), Code> {
    let dispatch = || {
        let table = [
            scm::SERVICE_TABLE_ENTRYW {
                // Of a service that has its process to itself nobody asks the name.
                lpServiceName: w!("").cast_mut(),
                lpServiceProc: Some(report),
            },
            scm::SERVICE_TABLE_ENTRYW::default(),
        ];
        // SAFETY: the table ends with an empty entry and lives across the call, which returns when
        // the service has stopped.
        let result = done(unsafe { scm::StartServiceCtrlDispatcherW(table.as_ptr()) });
        let code = result.err().map_or(0, |code| code.0);
        tell(|state| state == 0, ENDED, code.cast_unsigned());
        Ok(())
    };
    thread::start("services", WAITING_STACK_BYTES, Box::new(dispatch))
        .map_err(|error| Code(error.raw_os_error().unwrap_or(0)))?;
    match wait_while(|state| state == 0) {
        Told { state: ENDED, code } => Err(Code(code.cast_signed())),
        _ => Ok(()),
    }
}

/// Tells the manager that the service has stopped and with which code; 0 is well. With `again` it
/// is not told, unless it asked for the end: a process that ends without a word is what it starts
/// again.
pub fn leave(code: u8, again: bool) {
    if !again || told().state == scm::SERVICE_STOP_PENDING {
        tell(|_| true, scm::SERVICE_STOPPED, u32::from(code));
        wait_while(|state| state != ENDED);
    }
}

fn wait_while(is_so: impl Fn(u32) -> bool) -> Told {
    let told = CHANGED.wait_while(told(), |told| is_so(told.state));
    *told.unwrap_or_else(PoisonError::into_inner)
}

/// Whether a manager has started this process.
pub(super) fn is_entered() -> bool {
    told().state != 0
}

/// Requests are answered.
pub(super) fn ready() {
    let starting = |state| state == scm::SERVICE_START_PENDING;
    tell(starting, scm::SERVICE_RUNNING, 0);
}

/// What the manager calls the service's main function, on a thread of its own: reports to it until
/// the service has stopped. While something is under way it is told every second that it goes on;
/// how long it may take at most is the business of who does it.
extern "system" fn report(_: u32, _: *mut PWSTR) {
    // SAFETY: the handler has the type that is asked for, and lives as long as the program.
    let manager =
        unsafe { scm::RegisterServiceCtrlHandlerExW(w!(""), Some(on_control), ptr::null()) };
    if manager.is_null() {
        let code = Code::last().0.cast_unsigned();
        return tell(|state| state == 0, ENDED, code);
    }
    tell(|state| state == 0, scm::SERVICE_START_PENDING, 0);
    let mut told = told();
    let mut checkpoint = 0;
    loop {
        let Told { state, code } = *told;
        let (accepted, hint_ms) = match state {
            scm::SERVICE_RUNNING => (
                scm::SERVICE_ACCEPT_STOP
                    | scm::SERVICE_ACCEPT_PRESHUTDOWN
                    | scm::SERVICE_ACCEPT_PARAMCHANGE,
                0,
            ),
            scm::SERVICE_STOPPED => (0, 0),
            _ => (0, SERVICE_HINT_MS),
        };
        checkpoint = if hint_ms == 0 { 0 } else { checkpoint + 1 };
        let status = scm::SERVICE_STATUS {
            dwServiceType: scm::SERVICE_WIN32_OWN_PROCESS,
            dwCurrentState: state,
            dwControlsAccepted: accepted,
            dwWin32ExitCode: match code {
                0 => NO_ERROR,
                _ => ERROR_SERVICE_SPECIFIC_ERROR,
            },
            dwServiceSpecificExitCode: code,
            dwCheckPoint: checkpoint,
            dwWaitHint: hint_ms,
        };
        // SAFETY: the handle is the one of this service, which needs no closing; `status` is a
        // local. If the manager is gone, nobody is to be told.
        unsafe { scm::SetServiceStatus(manager, &raw const status) };
        if state == scm::SERVICE_STOPPED {
            drop(told);
            return tell(|_| true, ENDED, 0);
        }
        let same = |told: &mut Told| told.state == state;
        told = if hint_ms == 0 {
            let woken = CHANGED.wait_while(told, same);
            woken.unwrap_or_else(PoisonError::into_inner)
        } else {
            let wait = Duration::from_millis(SERVICE_REPORT_MS);
            let woken = CHANGED.wait_timeout_while(told, wait, same);
            woken.unwrap_or_else(PoisonError::into_inner).0
        };
    }
}

/// Runs on the dispatcher's thread.
extern "system" fn on_control(
    control: u32,
    _: u32,
    _: *mut std::ffi::c_void,
    _: *mut std::ffi::c_void,
) -> u32 {
    match control {
        scm::SERVICE_CONTROL_STOP
        | scm::SERVICE_CONTROL_SHUTDOWN
        | scm::SERVICE_CONTROL_PRESHUTDOWN => {
            let running = |state| state == scm::SERVICE_RUNNING;
            tell(running, scm::SERVICE_STOP_PENDING, 0);
            arrive(Signal::Terminate);
        }
        scm::SERVICE_CONTROL_PARAMCHANGE => arrive(Signal::Hangup),
        scm::SERVICE_CONTROL_INTERROGATE => {}
        _ => return ERROR_CALL_NOT_IMPLEMENTED,
    }
    NO_ERROR
}
