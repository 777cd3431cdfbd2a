//! The system calls that std does not have. The only unsafe code of the harness.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    os::unix::process::CommandExt,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

pub fn is_root() -> bool {
    #[expect(unsafe_code, reason = "std has no geteuid")]
    // SAFETY: no arguments, cannot fail.
    unsafe {
        libc::geteuid() == 0
    }
}

pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "std's Instant hides its nanoseconds")]
    // SAFETY: `t` is a timespec to write to.
    unsafe {
        libc::clock_gettime(clock, &raw mut t)
    };
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
}

pub fn on_signals(signals: &[libc::c_int], handler: extern "C" fn(libc::c_int)) -> Result<()> {
    for &signal in signals {
        #[expect(unsafe_code, reason = "std has no signal handlers")]
        // SAFETY: the handler only stores to an atomic; zero is a valid sigaction (empty mask).
        let rc = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        ensure!(rc == 0, "sigaction: {}", io::Error::last_os_error());
    }
    Ok(())
}

pub fn kill(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "std can only SIGKILL")]
    // SAFETY: plain integers; 0 and negative ids, which mean groups, are not made by callers: they hold a child's id.
    let rc = unsafe { libc::kill(pid, signal) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `command` inside these namespaces (mount, then net), out of the terminal's process group,
/// and has it killed when the thread that starts it ends.
pub fn enter_on_exec(command: &mut Command, mount: RawFd, net: RawFd) {
    die_with_parent(command);
    #[expect(unsafe_code, reason = "setns must happen between fork and exec")]
    // SAFETY: setns is async-signal-safe, and the caller keeps the descriptors open until the child is started.
    unsafe {
        command
            .pre_exec(move || setns(mount, libc::CLONE_NEWNS).and_then(|()| setns(net, libc::CLONE_NEWNET)));
    }
}

/// Has `command` killed when the thread that starts it ends, and puts it out of the terminal's process group.
pub fn die_with_parent(command: &mut Command) {
    command.process_group(0);
    #[expect(unsafe_code, reason = "prctl must happen between fork and exec")]
    // SAFETY: prctl is async-signal-safe.
    unsafe {
        command.pre_exec(|| check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop));
    }
}

/// Moves the calling thread into a network namespace.
pub fn enter_net(net: &File) -> io::Result<()> {
    setns(net.as_raw_fd(), libc::CLONE_NEWNET)
}

fn setns(fd: RawFd, kind: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "std has no setns")]
    // SAFETY: plain integers.
    check(unsafe { libc::setns(fd, kind) }).map(drop)
}

fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// A socket, closed on exec.
pub fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "std has neither raw nor packet sockets")]
    // SAFETY: the descriptor that socket returns is new and ours.
    unsafe {
        let fd = check(libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// setsockopt with an int.
pub fn set_option(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = socklen::<libc::c_int>();
    #[expect(unsafe_code, reason = "std has no such sockets")]
    // SAFETY: the value lives through the call and its length is given.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    check(rc).map(drop)
}

/// A socket that sees every frame of an interface in the calling thread's namespace, both ways, with `SO_TIMESTAMPNS`.
pub fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let fd = unbound_packet_socket()?;
    bind_packet_socket(&fd, interface, libc::ETH_P_ALL as u16)?;
    Ok(fd)
}

/// The same, of those frames that `filter` (classic BPF) wants.
pub fn filtered_packet_socket(interface: &str, filter: &mut [libc::sock_filter]) -> Result<OwnedFd> {
    let fd = unbound_packet_socket()?;
    let program = libc::sock_fprog { len: u16::try_from(filter.len())?, filter: filter.as_mut_ptr() };
    #[expect(unsafe_code, reason = "SO_ATTACH_FILTER takes a pointer to instructions")]
    // SAFETY: the kernel copies the instructions, which live through the call and whose number is given.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            socklen::<libc::sock_fprog>(),
        )
    };
    check(rc).context("SO_ATTACH_FILTER")?;
    bind_packet_socket(&fd, interface, libc::ETH_P_ALL as u16)?;
    Ok(fd)
}

/// A socket that sends whole frames on an interface of the calling thread's namespace, and receives none.
pub fn sending_socket(interface: &str) -> Result<OwnedFd> {
    let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0).context("AF_PACKET socket")?;
    bind_packet_socket(&fd, interface, 0)?;
    Ok(fd)
}

/// A socket to rtnetlink of the calling thread's namespace. What is written to it goes to the kernel.
pub fn route_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
}

/// The index of an interface of the calling thread's namespace.
pub fn interface_index(interface: &str) -> Result<u32> {
    let name = std::ffi::CString::new(interface)?;
    #[expect(unsafe_code, reason = "std has no if_nametoindex")]
    // SAFETY: name is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index != 0, "no interface {interface}");
    Ok(index)
}

/// Nothing is received before bind names interface and protocol together: the protocol is 0.
fn unbound_packet_socket() -> Result<OwnedFd> {
    let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0).context("AF_PACKET socket")?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20)?;
    Ok(fd)
}

fn bind_packet_socket(fd: &OwnedFd, interface: &str, protocol: u16) -> Result<()> {
    let index = i32::try_from(interface_index(interface)?)?;
    #[expect(unsafe_code, reason = "sockaddr_ll is not known to std")]
    // SAFETY: zero is a valid sockaddr_ll; the address lives through bind.
    let rc = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = index;
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
    };
    check(rc).with_context(|| format!("binding to {interface}")).map(drop)
}

/// Binds a socket to an interface.
pub fn bind_to_device(fd: &impl AsRawFd, interface: &str) -> io::Result<()> {
    #[expect(unsafe_code, reason = "std has no SO_BINDTODEVICE")]
    // SAFETY: the name lives through the call and its length is given.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            libc::socklen_t::try_from(interface.len()).unwrap_or(0),
        )
    };
    check(rc).map(drop)
}

/// Sleeps until `CLOCK_BOOTTIME` shows `ns`.
pub fn sleep_until(ns: u64) {
    let until = libc::timespec {
        tv_sec: libc::time_t::try_from(ns / 1_000_000_000).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::try_from(ns % 1_000_000_000).unwrap_or(0),
    };
    #[expect(unsafe_code, reason = "std sleeps only relatively")]
    // SAFETY: a timespec that lives through the call; with an absolute time there is no remainder.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_BOOTTIME,
            libc::TIMER_ABSTIME,
            &raw const until,
            std::ptr::null_mut(),
        )
    };
}

/// Sends to an address; the port means nothing to a raw socket.
pub fn send_to(fd: &OwnedFd, payload: &[u8], to: std::net::IpAddr) -> io::Result<()> {
    match to {
        std::net::IpAddr::V4(a) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: 0,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.octets()) },
                sin_zero: [0; 8],
            };
            send_raw(fd, payload, &address)
        }
        std::net::IpAddr::V6(a) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: a.octets() },
                sin6_scope_id: 0,
            };
            send_raw(fd, payload, &address)
        }
    }
}

fn send_raw<A>(fd: &OwnedFd, payload: &[u8], address: &A) -> io::Result<()> {
    #[expect(unsafe_code, reason = "std has no raw sockets")]
    // SAFETY: payload and address live through the call, their lengths are given.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            libc::MSG_DONTWAIT,
            std::ptr::from_ref(address).cast(),
            socklen::<A>(),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// Waits until there is something to read, or `timeout` is over.
pub fn wait_readable(fd: &impl AsRawFd, timeout: Duration) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    #[expect(unsafe_code, reason = "std has no poll")]
    // SAFETY: one pollfd and a timespec that live through the call.
    let rc = unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
    match check(rc) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// What came with a datagram.
#[derive(Debug, Default)]
pub struct Received {
    /// Its bytes in the buffer.
    pub len: usize,
    /// The kernel's `CLOCK_REALTIME` stamp, if `SO_TIMESTAMPNS` is on.
    pub realtime_ns: Option<u64>,
    /// The hop limit, if `IPV6_RECVHOPLIMIT` is on.
    pub hop_limit: Option<u8>,
    /// `sll_pkttype` of a packet socket.
    pub packet_type: u8,
}

/// Receives one datagram; `None`: there is none now.
pub fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    #[repr(align(8))]
    struct Control([u8; 256]);
    let mut control = Control([0; 256]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    #[expect(unsafe_code, reason = "control messages need recvmsg")]
    // SAFETY: zero is a valid sockaddr_ll and msghdr; all buffers outlive the call and their lengths are
    // given; the control messages are walked by libc's own macros within what the kernel wrote.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = socklen::<libc::sockaddr_ll>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        let n = libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
        let Ok(len) = usize::try_from(n) else {
            let e = io::Error::last_os_error();
            return if e.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(e) };
        };
        let mut received = Received { len, packet_type: address.sll_pkttype, ..Received::default() };
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(h) = header.as_ref() {
            read_control(h, &mut received);
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok(Some(received))
    }
}

#[expect(unsafe_code, reason = "control messages are read through libc's macros")]
fn read_control(header: &libc::cmsghdr, received: &mut Received) {
    // SAFETY: the kernel wrote a whole message of the type that level and type name.
    unsafe {
        let data = libc::CMSG_DATA(header);
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let t = data.cast::<libc::timespec>().read_unaligned();
                let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
                received.realtime_ns = Some(seconds * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                received.hop_limit = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
            }
            _ => {}
        }
    }
}

/// Gives the calling thread SCHED_FIFO, if that is allowed: a late prober measures itself.
pub fn prefer_this_thread() {
    run_in_real_time(20);
}

/// The same, above everything that is measured. For a thread that hardly uses its core.
pub fn prefer_this_thread_above_all() {
    run_in_real_time(90);
}

/// Keeps the calling thread on one core.
pub fn pin_this_thread(core: usize) -> io::Result<()> {
    #[expect(unsafe_code, reason = "std has no affinity")]
    // SAFETY: zero is an empty set; CPU_SET checks its bounds; the set lives through the call, and its size is given.
    let rc = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    check(rc).map(drop)
}

fn run_in_real_time(priority: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: priority };
    #[expect(unsafe_code, reason = "std has no scheduling classes")]
    // SAFETY: 0 is the calling thread; the parameters live through the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
}

/// `union bpf_attr` of BPF_PROG_LOAD, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 12],
}

/// `union bpf_attr` of BPF_PROG_TEST_RUN, likewise.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    rest: [u64; 10],
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// A BPF program of the kernel's type `kind`.
pub fn load_program(kind: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = ProgramLoad {
        program_type: kind,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..ProgramLoad::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attributes)?;
    #[expect(unsafe_code, reason = "std does not know of BPF")]
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Nanoseconds that a program takes for `frame`: the mean of `repeat` runs in a row, as the kernel measures it.
pub fn run_program(program: RawFd, frame: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attributes = TestRun {
        program: u32::try_from(program).map_err(io::Error::other)?,
        data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attributes)?;
    Ok(attributes.duration)
}

/// `union bpf_attr` of BPF_LINK_CREATE, likewise.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
    rest: [u64; 6],
}

const BPF_LINK_CREATE: libc::c_int = 28;

/// Attaches a program to an interface of the calling thread's namespace, until what is returned is dropped.
pub fn link_program(program: RawFd, interface: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = u32::try_from(program).map_err(io::Error::other)?;
    let rest = [0; 6];
    let mut attributes = LinkCreate { program, interface, attach_type, flags, rest };
    let fd = bpf(BPF_LINK_CREATE, &mut attributes)?;
    #[expect(unsafe_code, reason = "std does not know of BPF")]
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `union bpf_attr` of BPF_OBJ_GET and of BPF_LINK_DETACH, likewise.
#[repr(C)]
#[derive(Default)]
struct Pinned {
    path: u64,
    rest: [u64; 2],
}

/// As above.
#[repr(C)]
struct Detached {
    link: u32,
    rest: u32,
}

/// Takes the program of a pinned link off its interface; link and pin stay.
pub fn detach_link(pin: &std::path::Path) -> Result<()> {
    const BPF_OBJ_GET: libc::c_int = 7;
    const BPF_LINK_DETACH: libc::c_int = 34;
    let path = std::ffi::CString::new(pin.as_os_str().as_encoded_bytes())?;
    let mut pinned = Pinned { path: path.as_ptr() as u64, ..Pinned::default() };
    let link = bpf(BPF_OBJ_GET, &mut pinned).with_context(|| pin.display().to_string())?;
    #[expect(unsafe_code, reason = "std does not know of BPF")]
    // SAFETY: the descriptor is new and ours.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let mut detached = Detached { link: u32::try_from(link.as_raw_fd())?, rest: 0 };
    bpf(BPF_LINK_DETACH, &mut detached).context("BPF_LINK_DETACH")?;
    Ok(())
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    #[expect(unsafe_code, reason = "std does not know of BPF")]
    // SAFETY: the kernel reads and writes no more of the attributes than their size says, and what they point to
    // outlives the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(rc).map_err(io::Error::other) }
}
