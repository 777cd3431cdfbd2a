//! From a configuration to a node that is ready: everything is checked before anything is touched.

use std::{collections::VecDeque, fs, net::SocketAddr, time::SystemTime};

use anyhow::{Context as _, bail};
use aya::maps::{MapData, RingBuf};
use tokio::{
    signal::unix::Signal,
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};

use wgha_common::{Timestamp, wire::bfd};

use super::{
    carrier::{Carrier, Pending},
    guard,
    handshakes::Command,
    kernel::Kernel,
    node::{Node, tunnel_state},
    observe::{self, Look, Seen, TunnelSeen, UplinkSeen},
    peers::{Heard, Ourselves, Parts, Peers, Report},
    predecessor::Predecessor,
    probes::Pace,
    reload::{Reload, Reloads},
    told::Told,
    witness::Recording,
    worker::{Done, Effect, Worker},
};
use crate::{
    config::{self, Config, Vrrp},
    proto::{self, Authentication, Inherited, Machine, Settings, sync::Fingerprints},
    status::{
        Event, Notifier, Recorder, Wakeups,
        control::{self, Request},
    },
    sys::{
        bpf::{Loaded, Programs, attach, events, mark, pins},
        channel, check, clock, link,
        lock::UplinkLock,
        memory, netlink,
        packet_socket::PacketSocket,
        program::Program,
        qdisc,
        realtime::{self, Conduct},
        requests::Requests,
        tunnel::{Raised, Tunnel},
        udp_watch,
    },
};

/// Checks the system and makes the node ready. It goes on where the daemon before it has left off, if that has left
/// everything in its place a moment ago; otherwise it closes the fence and clears away.
///
/// # Errors
/// Whatever is in the way, in a sentence.
pub async fn start(config: Config, program: Program, hangup: Signal) -> anyhow::Result<Started> {
    refuse_what_cannot_work(&config).await?;
    let conduct = conduct();
    let server = control::Server::bind(&config.paths.socket)?;
    let looks = watch_kernel()?;
    let handle = connect()?;
    // Before anything is taken over: what is pinned may be another daemon's.
    let lock = take_uplink(&config, &handle).await?;
    // The verifier takes a quarter of a second of a processor, and WireGuard may be serving meanwhile.
    realtime::step_back();
    let (mut node, ring, ends) = assemble(config, conduct, looks.clone())?;
    let _ = realtime::favour(); // what it means that this is refused has been said
    node.lock = lock;
    let begun = match begin(&mut node, &handle).await {
        Ok(()) => begin_tasks(&mut node, &looks, ends),
        Err(e) => Err(e),
    };
    let ends = match begun {
        Ok(ends) => ends,
        Err(e) => {
            // What is not cleared away must stay silent, and what serves must not do so for ever.
            node.leave();
            return Err(e);
        }
    };
    let reloads =
        Reloads { program, running: node.config.clone(), hangup, asked: ends.reloads, to_loop: ends.reload };
    tokio::spawn(reloads.run());
    let serving = tokio::spawn(server.serve(ends.asking, ends.asking_reload, ends.followers));
    memory::give_back();
    if node.conduct.not_locked.is_none()
        && let Err(e) = memory::lock()
    {
        tracing::warn!("the thread that decides cannot be kept in memory: {e}");
    }
    Ok(Started { node, ring, stop: ends.stop, serving })
}

/// What runs beside the loop, but for what others may ask.
fn begin_tasks(node: &mut Node, looks: &broadcast::Sender<Look>, ends: Ends) -> anyhow::Result<OutsideEnds> {
    let told = node.carrier.told.subscribe();
    let raised = watch::Sender::default();
    let peers = peers(node, told, ends.heard, raised.subscribe())?;
    let commands = peers.commands();
    node.carrier.handshakes = Some(commands.clone());
    tokio::spawn(peers.run());
    let raised = Box::new(move |at| {
        // Whoever is not there any more does not wait for it.
        let _ = commands.send(Command::Raised(at));
        raised.send_replace(at);
    });
    let config = node.config.clone();
    // The VIP of the daemon before this one, if it is gone on with.
    let held = node.inherited.until.and(node.uplink.link).map(|link| link.index);
    let make = move || Ok(Worker { held, ..worker(&config, raised)? });
    Worker::spawn(make, ends.asked, ends.done)?;
    let (uplink, tunnel) = (node.config.uplink.interface.clone(), node.config.wireguard.clone());
    let family = node.config.vrrp.family;
    tokio::spawn(observe::watch_uplink(connect()?, uplink, family, looks.subscribe(), ends.found.clone()));
    let closed = udp_watch::watch()
        .inspect_err(|e| tracing::warn!("a lost listen port is noticed by looking every 10 s only: {e}"));
    tokio::spawn(observe::watch_tunnel(connect()?, tunnel, looks.subscribe(), closed.ok(), ends.found));
    tokio::spawn(guard::watch_programs(connect()?, node.attached.subscribe(), looks.clone()));
    Ok(ends.outside)
}

/// A node that is ready, and what belongs to it.
pub struct Started {
    /// The node.
    pub node: Node,
    /// The ring of the kernel half.
    pub ring: RingBuf<MapData>,
    /// Asks the node to stop.
    pub stop: mpsc::Sender<()>,
    /// The control socket.
    pub serving: JoinHandle<()>,
}

/// The far ends of a node's channels: what its helpers hold.
struct Ends {
    asked: mpsc::UnboundedReceiver<Effect>,
    done: mpsc::UnboundedSender<Done>,
    found: mpsc::UnboundedSender<Seen>,
    heard: mpsc::Sender<Heard>,
    outside: OutsideEnds,
}

/// Those of what others may ask.
struct OutsideEnds {
    asking: mpsc::Sender<Request>,
    asking_reload: mpsc::Sender<Reload>,
    reloads: mpsc::Receiver<Reload>,
    reload: mpsc::Sender<Reload>,
    followers: broadcast::Sender<Event>,
    stop: mpsc::Sender<()>,
}

/// Loads the kernel half, with the maps that the daemon before us has left; nothing is attached, nor changed, yet.
fn assemble(
    config: Config,
    conduct: Conduct,
    looks: broadcast::Sender<Look>,
) -> anyhow::Result<(Node, RingBuf<MapData>, Ends)> {
    let loaded = Programs::load_pinned(&config.paths.bpffs, &config.uplink.interface);
    let Loaded { mut programs, maps, ring } =
        loaded.map_err(|e| anyhow::Error::msg(check::why_not_loaded(e)).context("the kernel half"))?;
    let datapath = Kernel::new(maps, PacketSocket::open().context("packet socket")?, config.vrrp.clone());
    if let Some(logger) = programs.logger() {
        tokio::spawn(events::forward_logs(logger));
    }
    let (effects, asked) = mpsc::unbounded_channel();
    let (done, ended) = mpsc::unbounded_channel();
    let (found, seen) = mpsc::unbounded_channel();
    let (asking, requests) = mpsc::channel(16);
    let (asking_reload, reloads) = mpsc::channel(1);
    let (reload, tried) = mpsc::channel(1);
    let (stop, stops) = mpsc::channel(1);
    let (tell, heard) = mpsc::channel(64);
    let recorder = Recorder::new(clock::now(), SystemTime::now());
    let followers = recorder.followers();
    let outside = OutsideEnds { asking, asking_reload, reloads, reload, followers, stop };
    let ends = Ends { asked, done, found, heard: tell, outside };
    let carrier = Carrier {
        machine: Machine::new(settings(&config, &conduct)),
        datapath,
        witness: Recording::new(recorder, Notifier::from_env()),
        effects,
        told: watch::Sender::new(Told { health: (config.vrrp.priority.number(), false), ..Told::default() }),
        handshakes: None,
        pending: Pending::default(),
        ended: None,
        kept_on: None,
        doubts: false,
        inputs: VecDeque::new(),
    };
    let node = Node {
        carrier,
        programs,
        attachment: None,
        attached: watch::Sender::default(),
        lock: None,
        membership: None,
        done: ended,
        seen,
        looks,
        heard,
        report: Report::default(),
        stops,
        reloads: tried,
        reload: None,
        requests,
        inherited: Inherited::default(),
        uplink: UplinkSeen::default(),
        tunnel: TunnelSeen::default(),
        tunnel_went_down: false,
        tunnel_untold: false,
        tunnel_silent: false,
        wakeups: Wakeups::default(),
        started: clock::now(),
        conduct,
        config,
    };
    Ok((node, ring, ends))
}

/// The peer channel and what it serves.
fn peers(
    node: &mut Node,
    told: watch::Receiver<Told>,
    heard: mpsc::Sender<Heard>,
    raised: watch::Receiver<Timestamp>,
) -> anyhow::Result<Peers> {
    let config = &node.config;
    let Vrrp { id, advert_interval, .. } = config.vrrp;
    let vips: Vec<_> = config.vrrp.virtual_addresses.iter().map(|vip| vip.address).collect();
    let detect = detect(config, &node.conduct);
    let ourselves = Ourselves {
        discriminator: node.carrier.datapath.probes().map_or(0, |probes| probes.discriminator()),
        lease: detect.lease(),
        required_min_rx: detect.interval,
        vrrp: Fingerprints::of_vrrp(id, &vips, advert_interval),
    };
    let key = watch::Sender::default();
    let settings = channel::Settings {
        peers: config.peers.iter().map(|peer| SocketAddr::new(*peer, bfd::PORT)).collect(),
        port: bfd::PORT,
        own: None,
        wall_clock: channel::wall_clock,
        rate: channel::RATE,
    };
    let channel = channel::open(settings, key.subscribe());
    let (wireguard, addresses) = (config.wireguard.clone(), config.peers.clone());
    let maps = &node.carrier.datapath.maps;
    let traffic = [maps.traffic_reader()?, maps.traffic_reader()?];
    Ok(Peers::new(Parts { ourselves, wireguard, addresses, told, heard, channel, key, raised, traffic })?)
}

/// A connection for one task: the kernel refuses a second dump on a socket while one is under way (EBUSY).
pub(super) fn connect() -> anyhow::Result<rtnetlink::Handle> {
    netlink::connect().context("rtnetlink")
}

async fn refuse_what_cannot_work(config: &Config) -> anyhow::Result<()> {
    let report = check::surroundings(config).await;
    let problems: Vec<_> = report.problems().map(|p| format!("  {}: {}", p.what, p.detail)).collect();
    if !problems.is_empty() {
        bail!(
            "this system cannot run {}; nothing was touched:\n{}",
            config.file.display(),
            problems.join("\n")
        );
    }
    Ok(())
}

/// Notifications of the kernel, for whoever subscribes.
fn watch_kernel() -> anyhow::Result<broadcast::Sender<Look>> {
    let (looks, _) = broadcast::channel(64);
    let mut changed = netlink::watch().context("rtnetlink notifications")?;
    let tx = looks.clone();
    tokio::spawn(async move {
        while let Some(c) = changed.recv().await {
            let _ = tx.send(Look::Changed(c)); // nobody listening yet
        }
    });
    Ok(looks)
}

fn worker(config: &Config, raised: Raised) -> anyhow::Result<Worker> {
    let handle = connect()?;
    let state = config.paths.socket.with_file_name(format!("{}.tunnel", config.wireguard));
    Ok(Worker {
        uplink: config.uplink.interface.clone(),
        vips: config.vrrp.virtual_addresses.clone(),
        held: None,
        left: Vec::new(),
        tunnel: Tunnel::new(handle.clone(), &config.wireguard, state, raised),
        requests: Requests::open().context("rtnetlink")?,
        handle,
    })
}

/// A killed daemon leaves wg1 up and the VIP held.
async fn clear_away(worker: &mut Worker) -> anyhow::Result<()> {
    worker.carry_out(Effect::LowerTunnel).await?;
    worker.carry_out(Effect::ReleaseVip).await?;
    Ok(())
}

/// Clears away what a daemon has left, and the fence with it.
///
/// # Errors
/// A daemon is running, or something cannot be removed.
pub async fn detach(config: &Config) -> anyhow::Result<()> {
    let _server = control::Server::bind(&config.paths.socket)?;
    let handle = connect()?;
    let lock = take_uplink(config, &handle).await?;
    let (bpffs, name) = (&config.paths.bpffs, &config.uplink.interface);
    let mut worker = worker(config, Box::new(|_| ()))?;
    // Those of a daemon that was killed may be others than are configured now.
    worker.left = pins::vips(bpffs, name);
    clear_away(&mut worker).await?;
    attach::remove_clsact(name);
    if let Some(uplink) = link::read(&handle, name).await? {
        qdisc::remove_empty_clsact(&handle, uplink.index).await?;
    }
    // What belongs to another uplink has maps of its own, or a daemon. The rest is of one that had another name.
    let of_another = |at| link::name(at).is_some_and(|at| at != *name && pins::are_there(bpffs, &at));
    let ours = |at| lock.as_ref().is_some_and(|lock| lock.is_of(at));
    attach::remove_leftovers(bpffs, |at| ours(at) || !of_another(at) && UplinkLock::take(at).is_ok(), &[])?;
    let nobodys = |uplink: &str| uplink == name || link::index(uplink).is_ok_and(|index| index.is_none());
    pins::remove_maps(bpffs, nobodys)?;
    mark::remove(bpffs, nobodys)?;
    // Somebody else's pins may be in it, or it is where a bpffs is mounted.
    let _ = fs::remove_dir(bpffs);
    Ok(())
}

/// What the loop is allowed, and what is to be said about that.
fn conduct() -> Conduct {
    let conduct = realtime::probe();
    for (why, what) in
        [(&conduct.not_scheduled, "run in real time"), (&conduct.not_locked, "be kept in memory")]
    {
        if let Some(why) = why {
            tracing::warn!("the thread that decides cannot {what}: {why}");
        }
    }
    conduct
}

fn detect(config: &Config, conduct: &Conduct) -> proto::Detect {
    let config::Detect { interval, multiplier } = config.detect_or_default(conduct.not_scheduled.is_none());
    proto::Detect { interval, multiplier }
}

fn settings(config: &Config, conduct: &Conduct) -> Settings {
    Settings {
        priority: config.vrrp.priority,
        interval: config.vrrp.advert_interval,
        preempt: config.vrrp.preempt,
        preempt_delay: config.vrrp.preempt_delay,
        peers: config.peers.len(),
        detect: (!config.peers.is_empty()).then(|| detect(config, conduct)),
        authentication: config.vrrp.authentication.then_some(Authentication { peers: config.peers.len() }),
        health: Some(config.health),
    }
}

/// Nobody else guards the uplink.
async fn take_uplink(config: &Config, handle: &rtnetlink::Handle) -> anyhow::Result<Option<UplinkLock>> {
    let name = &config.uplink.interface;
    let in_use = || format!("another daemon guards {name}; stop it first");
    let uplink = link::read(handle, name).await?;
    uplink.map(|link| UplinkLock::take(link.index)).transpose().with_context(in_use)
}

/// What the interfaces are like.
struct FirstLook {
    tunnel: TunnelSeen,
    uplink: UplinkSeen,
}

async fn look(config: &Config, handle: &rtnetlink::Handle) -> anyhow::Result<FirstLook> {
    Ok(FirstLook {
        tunnel: observe::tunnel(handle, &config.wireguard).await?,
        uplink: observe::uplink(handle, &config.uplink.interface, config.vrrp.family).await?,
    })
}

/// Attaches the programs: to what serves and goes on to do so, or with the fence closed, before what is left is cleared
/// away.
async fn begin(node: &mut Node, handle: &rtnetlink::Handle) -> anyhow::Result<()> {
    let found = look(&node.config, handle).await?;
    let predecessor = Predecessor::of(&node.carrier.datapath.maps)?;
    inherit(node, &predecessor, &found)?;
    take_note(node, found)?;
    if node.inherited.until.is_some() {
        return Ok(());
    }
    let mut worker = worker(&node.config, Box::new(|_| ()))?;
    worker.left = predecessor.vips_besides(&node.config.vrrp.virtual_addresses);
    clear_away(&mut worker).await?;
    node.carrier.datapath.guard_own().map_err(anyhow::Error::msg)?;
    take_note(node, look(&node.config, handle).await?)
}

/// Goes on with the lease of the daemon before us, or ends it.
fn inherit(node: &mut Node, predecessor: &Predecessor, found: &FirstLook) -> anyhow::Result<()> {
    let vrrp = &node.config.vrrp;
    let (inherited, why_not) = predecessor.inherited(vrrp, &found.uplink, &found.tunnel, clock::now());
    node.inherited = inherited;
    let datapath = &mut node.carrier.datapath;
    if inherited.until.is_some() {
        tracing::info!(epoch = inherited.epoch, "going on under the lease of the daemon before this one");
        datapath.go_on(predecessor);
        node.carrier.pending.found_held();
        // Until the lease is as short as usual.
        node.carrier.told.send_modify(|told| told.lease = Some(proto::MAINTENANCE));
    } else {
        if let Some(why) = why_not {
            tracing::info!(
                epoch = inherited.epoch,
                "not going on under the lease of the daemon before this one: {why}"
            );
        }
        let port = tunnel_state(&found.tunnel).listen_port.unwrap_or(predecessor.uplink.wireguard_port);
        let left = predecessor.vips_besides(&vrrp.virtual_addresses);
        datapath.guard(inherited.epoch, port, &left).map_err(anyhow::Error::msg)?;
    }
    if !node.config.peers.is_empty() {
        let proto::Detect { interval, multiplier } = detect(&node.config, &node.conduct);
        // Whoever has it asks once more, and is told that this node does not serve.
        let known = predecessor.discriminator.filter(|_| inherited.until.is_some() || inherited.ended);
        datapath.start_probes(Pace { interval, multiplier }, &node.config.peers, known)?;
    }
    Ok(())
}

/// What the machine must know before it starts. The programs are attached on the way.
fn take_note(node: &mut Node, found: FirstLook) -> anyhow::Result<()> {
    node.tunnel_found(found.tunnel);
    node.uplink_found(found.uplink);
    if node.attachment.is_none() {
        bail!("nothing could be attached to {} (see above)", node.config.uplink.interface);
    }
    Ok(())
}
