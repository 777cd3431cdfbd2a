//! From a configuration to a node that is ready: everything is checked before anything is touched.

use std::{collections::VecDeque, net::SocketAddr, time::SystemTime};

use anyhow::{Context as _, bail};
use aya::maps::{MapData, RingBuf};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};

use wgha_common::{Timestamp, wire::bfd};

use super::{
    carrier::{Carrier, Pending},
    handshakes::Command,
    kernel::Kernel,
    node::Node,
    observe::{self, Look, Seen, TunnelSeen, UplinkSeen},
    peers::{Heard, Ourselves, Parts, Peers, Report},
    probes::Pace,
    told::Told,
    witness::Recording,
    worker::{Done, Effect, Worker},
};
use crate::{
    config::{self, Config, Vrrp},
    proto::{self, Machine, Settings, sync::Fingerprints},
    status::{
        Event, Notifier, Recorder, Wakeups,
        control::{self, Request},
    },
    sys::{
        bpf::{Attachment, Programs, attach, events},
        channel, check, clock, link,
        lock::UplinkLock,
        memory, netlink,
        packet_socket::PacketSocket,
        realtime::{self, Conduct},
        requests::Requests,
        tunnel::{Raised, Tunnel},
        udp_watch,
    },
};

/// Checks the system, closes the fence, clears away what a killed daemon has left, and makes the node ready.
///
/// # Errors
/// Whatever is in the way, in a sentence.
pub async fn start(config: Config) -> anyhow::Result<Started> {
    refuse_what_cannot_work(&config).await?;
    let conduct = conduct();
    let server = control::Server::bind(&config.paths.socket)?;
    let looks = watch_kernel()?;
    let (mut node, ring, ends) = assemble(config, conduct, looks.clone())?;

    // The fence first: it is closed, and takes the place of the one that a killed daemon has left.
    let handle = connect()?;
    look_first(&mut node, &handle).await?;
    let cleared = match worker(&node.config, Box::new(|_| ())) {
        Ok(mut worker) => clear_away(&mut worker).await,
        Err(e) => Err(e),
    };
    if let Err(e) = cleared {
        node.attachment.take().into_iter().for_each(Attachment::leave);
        return Err(e);
    }
    look_first(&mut node, &handle).await?;

    let told = node.carrier.told.subscribe();
    let raised = watch::Sender::default();
    let peers = peers(&mut node, told, ends.heard, raised.subscribe())?;
    let commands = peers.commands();
    node.carrier.handshakes = Some(commands.clone());
    tokio::spawn(peers.run());
    let raised = Box::new(move |at| {
        // Whoever is not there any more does not wait for it.
        let _ = commands.send(Command::Raised(at));
        raised.send_replace(at);
    });
    let config = node.config.clone();
    Worker::spawn(move || worker(&config, raised), ends.asked, ends.done)?;
    let (uplink, tunnel) = (node.config.uplink.interface.clone(), node.config.wireguard.clone());
    let family = node.config.vrrp.family;
    tokio::spawn(observe::watch_uplink(connect()?, uplink, family, looks.subscribe(), ends.found.clone()));
    tokio::spawn(observe::watch_tunnel(connect()?, tunnel, looks.subscribe(), ends.found));
    let serving = tokio::spawn(server.serve(ends.asking, ends.followers));
    memory::give_back();
    if node.conduct.not_locked.is_none()
        && let Err(e) = memory::lock()
    {
        tracing::warn!("the thread that decides cannot be kept in memory: {e}");
    }
    Ok(Started { node, ring, stop: ends.stop, serving })
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
    asking: mpsc::Sender<Request>,
    followers: broadcast::Sender<Event>,
    stop: mpsc::Sender<()>,
    heard: mpsc::Sender<Heard>,
}

/// Loads the kernel half and tells it what to guard; nothing is attached yet.
fn assemble(
    config: Config,
    conduct: Conduct,
    looks: broadcast::Sender<Look>,
) -> anyhow::Result<(Node, RingBuf<MapData>, Ends)> {
    let (mut programs, maps, ring) = Programs::load()?;
    let mut datapath = Kernel::new(maps, PacketSocket::open().context("packet socket")?, config.vrrp.clone());
    datapath.guard().map_err(anyhow::Error::msg)?;
    if !config.peers.is_empty() {
        let proto::Detect { interval, multiplier } = detect(&config, &conduct);
        datapath.start_probes(Pace { interval, multiplier }, &config.peers)?;
    }
    if let Some(logger) = programs.logger() {
        tokio::spawn(events::forward_logs(logger));
    }
    let (effects, asked) = mpsc::unbounded_channel();
    let (done, ended) = mpsc::unbounded_channel();
    let (found, seen) = mpsc::unbounded_channel();
    let (asking, requests) = mpsc::channel(16);
    let (stop, stops) = mpsc::channel(1);
    let (tell, heard) = mpsc::channel(64);
    let recorder = Recorder::new(clock::now(), SystemTime::now());
    let ends = Ends { asked, done, found, asking, followers: recorder.followers(), stop, heard: tell };
    let carrier = Carrier {
        machine: Machine::new(settings(&config, &conduct)),
        datapath,
        witness: Recording::new(recorder, Notifier::from_env()),
        effects,
        told: watch::Sender::default(),
        handshakes: None,
        pending: Pending::default(),
        finished: false,
        inputs: VecDeque::new(),
    };
    let node = Node {
        carrier,
        programs,
        attachment: None,
        lock: None,
        membership: None,
        done: ended,
        seen,
        looks,
        heard,
        report: Report::default(),
        stops,
        requests,
        uplink: UplinkSeen::default(),
        tunnel: TunnelSeen::default(),
        tunnel_went_down: false,
        tunnel_untold: false,
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
    let Vrrp { id, priority, advert_interval, .. } = config.vrrp;
    let vips: Vec<_> = config.vrrp.virtual_addresses.iter().map(|vip| vip.address).collect();
    let detect = detect(config, &node.conduct);
    let ourselves = Ourselves {
        priority: priority.number(),
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
fn connect() -> anyhow::Result<rtnetlink::Handle> {
    netlink::connect().context("rtnetlink")
}

async fn refuse_what_cannot_work(config: &Config) -> anyhow::Result<()> {
    let report = check::system(config).await;
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
    match udp_watch::watch() {
        Ok(mut closed) => {
            let tx = looks.clone();
            tokio::spawn(async move {
                while let Some(port) = closed.recv().await {
                    let _ = tx.send(Look::UdpClosed(port));
                }
            });
        }
        Err(e) => tracing::warn!("a lost listen port is noticed by looking every 10 s only: {e}"),
    }
    Ok(looks)
}

fn worker(config: &Config, raised: Raised) -> anyhow::Result<Worker> {
    let handle = connect()?;
    let state = config.paths.socket.with_file_name(format!("{}.tunnel", config.wireguard));
    Ok(Worker {
        uplink: config.uplink.interface.clone(),
        vips: config.vrrp.virtual_addresses.clone(),
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
    let uplink = link::read(&handle, &config.uplink.interface).await?;
    let in_use = || format!("a daemon guards {}; stop it first", config.uplink.interface);
    let _lock = uplink.map(|l| UplinkLock::take(l.index)).transpose().with_context(in_use)?;
    clear_away(&mut worker(config, Box::new(|_| ()))?).await?;
    attach::remove_clsact(&config.uplink.interface);
    attach::remove_leftovers(&config.paths.bpffs, &[])?;
    Ok(())
}

/// What the loop is allowed, and what is to be said about that.
fn conduct() -> Conduct {
    let conduct = realtime::probe();
    realtime::favour();
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
        detect: (!config.peers.is_empty()).then(|| detect(config, conduct)),
    }
}

/// What the machine must know before it starts.
async fn look_first(node: &mut Node, handle: &rtnetlink::Handle) -> anyhow::Result<()> {
    let tunnel = observe::tunnel(handle, &node.config.wireguard).await?;
    let uplink = observe::uplink(handle, &node.config.uplink.interface, node.config.vrrp.family).await?;
    node.tunnel_found(tunnel);
    node.uplink_found(uplink);
    if node.attachment.is_none() {
        bail!("nothing could be attached to {} (see above)", node.config.uplink.interface);
    }
    Ok(())
}
