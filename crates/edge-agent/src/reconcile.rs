//! The loop that makes the device what the deployment says: desired, observe, plan, execute, report.
//!
//! Whatever happens (news from the hub, a look at the daemon, the end of a job, a time) changes the
//! state of the [`Reconciler`]; after each of it, it plans, begins what is to begin, and says how
//! things stand. Nothing in here waits for a module: jobs run beside it, so that a slow pull holds
//! up nobody, and a new deployment is acted on at once, with the last look at the daemon.

mod calls;
mod done;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use client::device::MethodReply;
use client::edge::ManagementClient;
use host::clock::{Clock, Mono};
use host::signals::Shutdown;
use jiff::Timestamp;
use model::ModuleId;
use model::twin::Object;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::backup::State;
use crate::desired::Desired;
use crate::error::chain;
use crate::execute::{Done, Executor};
use crate::itself::Itself;
use crate::line::News;
use crate::metrics::{self, Counters};
use crate::observe::{Identities, Look, Observation, Platform, Status, look, runtime_name};
use crate::plan::{Job, Plan, Purpose, Snapshot, Standing, plan};
use crate::record::{Aim, Records, see};
use crate::report::{Facts, LastDesired, reported};
use crate::rollout::{Evidence, Rollout, Stages};
use crate::settings::{AgentSettings, Timing};
use crate::upload::Tasks;

/// Where the loop's words go.
pub(crate) struct Outlets {
    /// The newest report.
    pub(crate) report: watch::Sender<Object>,
    /// What is to survive.
    pub(crate) keep: watch::Sender<State>,
    /// Where metrics are served.
    pub(crate) metrics: watch::Sender<Option<SocketAddr>>,
    /// What is counted.
    pub(crate) counters: Counters,
}

/// The state of the loop.
pub(crate) struct Reconciler {
    settings: AgentSettings,
    clock: Clock,
    management: ManagementClient,
    outlets: Outlets,
    started_at: Timestamp,
    platform: Platform,

    /// Which deployment is in force.
    rollout: Rollout,
    is_connected: bool,
    /// When a deployment came that is not applied yet.
    arrived_at: Option<Mono>,
    /// When the time of modules was counted last.
    watched_at: Mono,
    last_desired: LastDesired,

    observation: Option<Observation>,
    identities_read_at: Option<Mono>,
    looks: JoinSet<Look>,
    looks_begun: u64,
    look_at: Mono,
    look_not_before: Mono,

    records: Records,
    executor: Executor,
    itself: Itself,
    busy: BTreeMap<ModuleId, Purpose>,
    /// Modules touched since, with the number of the look that will show it.
    unseen: BTreeMap<ModuleId, u64>,
    /// Logs that are being read for somebody.
    readers: JoinSet<()>,
    /// Uploads, and how they fared.
    tasks: Tasks,
    /// Who waits for a restart that was asked for.
    callers: BTreeMap<ModuleId, MethodReply>,
}

/// Something that happened.
enum Happening {
    News(News),
    Seen(Look),
    Done(Done),
    Time,
    End,
}

impl Reconciler {
    pub(crate) fn new(
        settings: AgentSettings,
        clock: Clock,
        management: ManagementClient,
        outlets: Outlets,
        records: Records,
    ) -> Self {
        Self {
            executor: Executor::new(management.clone(), outlets.counters.clone(), clock.clone()),
            itself: Itself::new(management.clone(), clock.clone()),
            started_at: clock.wall(),
            look_at: clock.now(),
            look_not_before: clock.now(),
            watched_at: clock.now(),
            settings,
            clock,
            management,
            outlets,
            platform: Platform::default(),
            rollout: Rollout::default(),
            is_connected: false,
            arrived_at: None,
            last_desired: LastDesired::nothing_yet(),
            observation: None,
            identities_read_at: None,
            looks: JoinSet::new(),
            looks_begun: 0,
            records,
            busy: BTreeMap::new(),
            unseen: BTreeMap::new(),
            readers: JoinSet::new(),
            tasks: Tasks::default(),
            callers: BTreeMap::new(),
        }
    }

    /// Runs until `shutdown`; the last report says that nobody looks after the modules any more.
    pub(crate) async fn run(&mut self, mut news: mpsc::Receiver<News>, shutdown: Shutdown) {
        self.read_platform().await;
        let mut wake_at = None;
        loop {
            self.begin_look();
            match self.next(&mut news, wake_at, &shutdown).await {
                Happening::News(News::Desired(desired)) => self.desired(&desired),
                Happening::News(News::Method(call)) => self.method(call),
                Happening::News(News::Connected(is_connected)) => self.is_connected = is_connected,
                Happening::Seen(look) => self.observe(look),
                Happening::Done(done) => self.done(done),
                Happening::Time => {}
                Happening::End => break,
            }
            let plan = self.judged_plan();
            self.execute(plan.jobs);
            self.tell_itself();
            self.report(&plan.standings);
            wake_at = plan.wake_at;
        }
        self.last_desired = self.last_desired.ending();
        self.publish(&self.plan().standings, true);
    }

    async fn next(
        &mut self,
        news: &mut mpsc::Receiver<News>,
        wake_at: Option<Mono>,
        shutdown: &Shutdown,
    ) -> Happening {
        let look_at = match self.unseen.is_empty() {
            true => self.look_at.max(self.look_not_before),
            false => self.look_not_before,
        };
        let is_looking = !self.looks.is_empty();
        let wake_at = match (wake_at, is_looking) {
            (Some(at), true) => Some(at),
            (Some(at), false) => Some(at.min(look_at)),
            (None, true) => None,
            (None, false) => Some(look_at),
        };
        tokio::select! {
            biased;
            () = shutdown.wait() => Happening::End,
            // The line lives as long as this loop.
            Some(news) = news.recv() => Happening::News(news),
            done = self.executor.next_done() => Happening::Done(done),
            Some(look) = self.looks.join_next() => match look {
                Ok(look) => Happening::Seen(look),
                // Looks are never aborted and do not panic; the next one follows.
                Err(_) => Happening::Time,
            },
            () = sleep_until(&self.clock, wake_at) => Happening::Time,
        }
    }

    /// Goes on with the deployments of the last life.
    pub(crate) fn resume(&mut self, stages: &Stages) {
        self.rollout = Rollout::resume(stages, &self.settings.surroundings, self.clock.now());
        self.deployment_changed();
    }

    /// Takes in new desired properties.
    fn desired(&mut self, desired: &Desired) {
        self.arrived_at = Some(self.clock.now());
        self.rollout.take(desired, &self.settings.surroundings, self.clock.now());
        self.deployment_changed();
    }

    /// The periods, with what the deployment's variables change.
    fn timing(&self) -> Timing {
        match self.rollout.deployment() {
            Some(deployment) => deployment.variables.timing(&self.settings.timing),
            None => self.settings.timing,
        }
    }

    fn deployment_changed(&mut self) {
        let modules = self.rollout.deployment().into_iter().flat_map(|all| &all.modules);
        let wanted = modules.map(|(module, target)| (module.clone(), Aim::of(Some(target))));
        self.executor.want(wanted.collect());
        let address = self.rollout.deployment().and_then(metrics::address);
        self.outlets.metrics.send_if_modified(|now| std::mem::replace(now, address) != address);
        self.publish_needs();
    }

    /// Before anything of a deployment is pulled or made, its images and volumes are told.
    fn publish_needs(&self) {
        fn tell<T: PartialEq>(channel: &watch::Sender<Option<T>>, needs: Option<T>) {
            channel.send_if_modified(|now| {
                let is_new = needs.is_some() && *now != needs;
                if is_new {
                    *now = needs;
                }
                is_new
            });
        }
        tell(&self.settings.deployed_images, self.rollout.images());
        tell(&self.settings.deployed_options, self.rollout.create_options());
    }

    /// Plans, and plans anew when the plan shows that a deployment has to be given up.
    fn judged_plan(&mut self) -> Plan {
        let plan = self.plan();
        let Some(observation) = &self.observation else { return plan };
        let is_other = self.rollout.judge(&Evidence {
            observation,
            seen_at: self.watched_at,
            records: &self.records,
            standings: &plan.standings,
            pulling: &self.executor.pulling(),
            is_connected: self.is_connected,
            now: self.clock.now(),
            timing: &self.timing(),
        });
        if !is_other {
            return plan;
        }
        self.deployment_changed();
        self.plan()
    }

    /// Takes in a look at the daemon.
    fn observe(&mut self, look: Look) {
        let (now, timing) = (self.clock.now(), self.timing());
        let modules = match look.modules {
            Ok(modules) => modules,
            Err(error) => {
                tracing::error!(error = chain(&error), "cannot see the modules");
                // However much there is to see, a daemon that is away is not asked all the time.
                self.look_not_before = now + self.timing().observe_every;
                return;
            }
        };
        let observation = self.observation.get_or_insert_default();
        observation.set_modules(modules);
        if let Some(identities) = look.identities {
            self.identities_read_at = identities.is_ok().then_some(now);
            observation.set_identities(identities);
        }
        let passed = now - std::mem::replace(&mut self.watched_at, now);
        let modules = self.rollout.deployment().into_iter().flat_map(|all| &all.modules);
        for (module, _) in modules.filter(|(_, target)| target.has_to_run()) {
            let status = observation.modules.get(module).map(|seen| seen.status);
            let is_running = status == Some(Status::Running);
            self.outlets.counters.watched(runtime_name(module), is_running, passed);
        }
        self.unseen.retain(|_, shown_by| *shown_by > look.number);
        let skip = self.busy.keys().chain(self.unseen.keys()).cloned().collect();
        see(&mut self.records, observation, &skip, now, &timing);
    }

    fn plan(&self) -> Plan {
        // Before the first look nothing is known, so nothing can be planned.
        let Some(observation) = &self.observation else { return Plan::default() };
        plan(&Snapshot {
            deployment: self.rollout.deployment(),
            observation,
            records: &self.records,
            busy: &self.busy,
            unseen: &self.unseen.keys().cloned().collect::<BTreeSet<_>>(),
            now: self.clock.now(),
            timing: self.timing(),
        })
    }

    fn execute(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            self.busy.insert(job.module.clone(), job.purpose);
            self.records.entry(job.module.clone()).or_default();
            let identities = self.observation.as_ref().map(|observation| &observation.identities);
            let identity = identities.and_then(|identities| identities.get(&job.module)).cloned();
            self.executor.begin(job, identity);
        }
    }

    /// Between the jobs: the daemon may begin this agent anew for it.
    fn tell_itself(&mut self) {
        if self.busy.is_empty()
            && self.observation.is_some()
            && let Some(deployment) = self.rollout.deployment()
        {
            self.itself.tell(&deployment.config, &self.settings.surroundings.agent_env);
        }
    }

    /// Says how things stand, and lets what is to survive be written.
    fn report(&mut self, standings: &BTreeMap<ModuleId, Standing>) {
        self.forget(standings);
        if let (Some(verdict), Some(observation)) = (self.rollout.verdict(), &self.observation) {
            let missing = match &observation.identities {
                Identities::Known(_) => None,
                Identities::Unknown(why) => Some(why.as_str()),
            };
            self.last_desired = self.last_desired.next(verdict, standings, &self.records, missing);
            if self.last_desired.is_applied()
                && let Some(arrived_at) = self.arrived_at.take()
            {
                self.outlets.counters.deployed(self.clock.now() - arrived_at);
            }
        }
        self.publish(standings, false);
        let kept: BTreeMap<String, _> = self
            .records
            .iter()
            .map(|(module, record)| (module.to_string(), record.kept.clone()))
            .collect();
        let stages = self.rollout.stages();
        self.publish_needs();
        self.outlets.keep.send_if_modified(|state| {
            let is_new = state.records != kept || state.stages != stages;
            (state.records, state.stages) = (kept, stages);
            is_new
        });
    }

    fn publish(&self, standings: &BTreeMap<ModuleId, Standing>, is_ending: bool) {
        let Some(observation) = &self.observation else { return };
        let pulling = self.executor.pulling();
        let report = reported(&Facts {
            about: &self.settings.about,
            started_at: self.started_at,
            last_desired: &self.last_desired,
            deployment: self.rollout.deployment(),
            observation,
            records: &self.records,
            standings,
            platform: &self.platform,
            pulling: &pulling,
            is_ending,
        });
        self.outlets.report.send_if_modified(|last| {
            let is_new = *last != report;
            if is_new {
                *last = report;
            }
            is_new
        });
    }

    /// Forgets modules that are neither wanted nor there, nor have left anything to clear away.
    fn forget(&mut self, standings: &BTreeMap<ModuleId, Standing>) {
        let (Some(deployment), Some(observation)) = (self.rollout.deployment(), &self.observation)
        else {
            return;
        };
        self.records.retain(|module, _| {
            deployment.modules.contains_key(module)
                || observation.modules.contains_key(module)
                || standings.get(module).is_some_and(|standing| *standing != Standing::Settled)
        });
    }

    fn begin_look(&mut self) {
        let now = self.clock.now();
        let next = self.looks_begun + 1;
        let is_needed = now >= self.look_at || !self.unseen.is_empty();
        if !is_needed || now < self.look_not_before || !self.looks.is_empty() {
            return;
        }
        let with_identities = match self.identities_read_at {
            Some(at) => now >= at + IDENTITIES_EVERY,
            None => true,
        };
        self.looks_begun = next;
        self.look_at = now + self.timing().observe_every;
        self.looks.spawn(look(self.management.clone(), next, with_identities));
    }

    /// The machine does not change while the agent runs; without it the report has blanks.
    async fn read_platform(&mut self) {
        match self.management.system_info().await {
            Ok(info) => {
                self.platform = Platform {
                    os: info.os_type,
                    architecture: info.architecture,
                    version: info.version,
                };
            }
            Err(error) => tracing::warn!(error = chain(&error), "cannot read facts of the machine"),
        }
    }
}

async fn sleep_until(clock: &Clock, at: Option<Mono>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Identities change by us, by the hub's registry, or when the device is provisioned anew; asking
/// may cost the daemon a call to the hub.
const IDENTITIES_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
