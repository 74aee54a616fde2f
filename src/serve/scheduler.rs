//! Turns what is due into runs, and runs into work: at most `parallel` at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::clock::{Timestamp, now};
use crate::decide::{Action, Stopping, Turns, due, next_drift, next_to_start};
use crate::fault::chain;
use crate::fleet::{Fleet, Tracked};
use crate::id::RunId;
use crate::machine::Machine;
use crate::run::{Event, State};
use crate::store::{RunUpdate, StoreError};
use crate::worker::{Owner, Wishes, Worker};

/// Starts runs and looks after those that are under way.
pub(crate) struct Scheduler {
    fleet: Arc<Fleet>,
    worker: Arc<Worker>,
    owner: Owner,
    under_way: HashMap<RunId, UnderWay>,
    /// How many runs are under way at once.
    at_once: usize,
    /// Whose turn it is.
    turns: Turns,
    /// Whether the last look found too little memory for one run more.
    room: Room,
    /// Hears of each run that ended.
    ended: mpsc::UnboundedSender<RunId>,
}

/// Whether there is memory for one run more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// There is.
    Enough,
    /// There is not: what is due waits until a run has ended.
    Short,
}

struct UnderWay {
    wishes: Wishes,
    task: JoinHandle<()>,
}

impl Scheduler {
    /// A scheduler that tells `ended` of each run that ended.
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        worker: Arc<Worker>,
        ended: mpsc::UnboundedSender<RunId>,
    ) -> Self {
        let machine = Machine::look();
        let at_once = fleet.config.at_once(&machine).get();
        info!(
            parallel = at_once,
            "At most {at_once} runs at once, on {machine}"
        );
        Self {
            fleet,
            worker,
            owner: Owner::this_process(),
            under_way: HashMap::new(),
            at_once,
            turns: Turns::default(),
            room: Room::Enough,
            ended,
        }
    }

    /// Takes over the runs whose process is gone: a start is an ordinary look at what is.
    pub(crate) fn adopt(&mut self) -> Result<(), StoreError> {
        for active in self.fleet.store.active_runs()? {
            let owner = active.owner.as_deref().and_then(Owner::read);
            // A process that lives and does not renew its lease is stopped, or cannot record anything.
            let renews = active.lease_until.is_some_and(|until| until > now());
            // What is ours and not under way was left running, or could not be recorded.
            let others =
                owner.is_some_and(|owner| owner != self.owner && owner.is_alive() && renews);
            if others || self.under_way.contains_key(&active.id) {
                continue;
            }
            let run = self.fleet.store.run(active.id)?;
            info!(run.id = %run.id, state = %run.state, "Run {} was {} when its process was lost", run.id, run.state);
            let worker = Arc::clone(&self.worker);
            let id = run.id;
            let wishes = Wishes::default();
            let token = wishes.apply.clone();
            self.spawn(id, wishes, async move {
                let former = active.owner.as_deref();
                if let Err(error) = worker.recover(&run, former, &token).await {
                    error!(run.id = %id, "Taking over run {id} failed: {}", chain(&error));
                }
            });
        }
        Ok(())
    }

    /// One look at what is: ends what shall end, records what is due, starts what may start.
    /// Gives the time from which the clock alone brings something to do.
    pub(crate) fn tick(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let mut next: Option<Timestamp> = None;
        self.under_way.retain(|_, run| !run.task.is_finished());
        if self.fleet.store.trouble().is_some() {
            // Nothing is begun, and nothing taken over, before something can be recorded again.
            self.fleet
                .store
                .renew_leases(&self.owner.to_string(), now())?;
        }
        self.adopt()?;
        for tracked in self.fleet.repositories.values() {
            // What is wrong with the record of one repository keeps none of the others waiting.
            match self.decide(tracked) {
                Ok(drift) => next = next.into_iter().chain(drift).min(),
                Err(error) => {
                    error!(repo = %tracked.repo(), "Deciding on {} failed and is tried again: {}", tracked.repo(), chain(&error));
                }
            }
        }
        self.start_next()?;
        Ok(next)
    }

    /// Records what is due in a repository. Gives the time of its next look for drift.
    fn decide(&self, tracked: &Tracked) -> Result<Option<Timestamp>, StoreError> {
        let facts = self.fleet.facts(tracked)?;
        for action in due(&facts, now()) {
            match action {
                Action::Queue(order) => {
                    let id = self.fleet.store.add_run(&order, now())?;
                    info!(run.id = %id, workspace = %order.workspace, purpose = %order.purpose, "Run {id} is due: {} {} of {} at {}", order.purpose, order.workspace, order.repo, order.commit.short());
                }
                Action::Supersede { run, by } => {
                    info!(run.id = %run, "Run {run} is superseded by {by}");
                    self.fleet
                        .store
                        .stop(run, &Event::Superseded { by }, now())?;
                }
            }
        }
        Ok(next_drift(&facts, now()))
    }

    fn start_next(&mut self) -> Result<(), StoreError> {
        let open = self.fleet.store.open_runs()?;
        let mut queued = Vec::new();
        let mut busy = HashSet::new();
        for run in open {
            let stop = match run.stopping {
                Stopping::Yes => self.fleet.store.run(run.id)?.result.stop,
                Stopping::No => None,
            };
            match (run.state, stop) {
                // It was lost before it could be ended as it was asked to.
                (State::Queued | State::Held, Some(stop)) => {
                    self.fleet.store.happened(run.id, &stop, now(), |_| {})?;
                }
                (State::Queued, None) if self.fleet.tracked(&run.what.repo).is_some() => {
                    queued.push((run.id, run.what));
                }
                (state, stop) if state.is_active() => {
                    if stop.is_some()
                        && let Some(under_way) = self.under_way.get(&run.id)
                    {
                        under_way.wishes.plan.cancel();
                        if matches!(stop, Some(Event::Cancelled { .. })) {
                            under_way.wishes.apply.cancel();
                        }
                    }
                    busy.insert((run.what.repo, run.what.workspace));
                }
                _ => {}
            }
        }
        let free = self.at_once.saturating_sub(self.under_way.len());
        for _ in 0..free {
            let Some(place) = next_to_start(&queued, &busy, &self.turns) else {
                break;
            };
            if self.look_for_room() == Room::Short {
                // The end of a run is the next look.
                break;
            }
            let (id, run) = queued.swap_remove(place);
            // Whoever has the workspace, this look starts nothing more in it.
            busy.insert((run.repo.clone(), run.workspace));
            match self.fleet.store.claim(id, &self.owner.to_string(), now()) {
                Ok(RunUpdate::Now(_)) => self.turns.started(&run.repo, &queued),
                // Another process, `mainstay drift` say, has taken the workspace or the run since:
                // then it waits for the next tick, or is done there.
                Ok(RunUpdate::Busy) | Err(StoreError::Illegal { .. }) => continue,
                Err(error) => return Err(error),
            }
            let worker = Arc::clone(&self.worker);
            let wishes = Wishes::default();
            let given = wishes.clone();
            self.spawn(id, wishes, async move {
                if let Err(error) = worker.work(id, &given, &|_| {}).await {
                    error!(run.id = %id, "Run {id} could not be recorded: {}", chain(&error));
                }
            });
        }
        Ok(())
    }

    /// Looks whether there is memory for one run more, and says so where that has changed.
    fn look_for_room(&mut self) -> Room {
        let machine = Machine::look();
        let room = match machine.has_room(self.under_way.len()) {
            true => Room::Enough,
            false => Room::Short,
        };
        if room != self.room && room == Room::Short {
            warn!(
                "Too little memory for one run more beside {}: what is due waits ({machine})",
                self.under_way.len()
            );
        }
        self.room = room;
        room
    }

    fn spawn(
        &mut self,
        id: RunId,
        wishes: Wishes,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let ended = self.ended.clone();
        let task = tokio::spawn(async move {
            work.await;
            // Nobody listens any more once the daemon ends.
            let _ = ended.send(id);
        });
        self.under_way.insert(id, UnderWay { wishes, task });
    }

    /// Drops what only plans. Applies go on; says how many.
    pub(crate) fn wind_down(&mut self) -> Result<usize, StoreError> {
        self.under_way.retain(|_, run| !run.task.is_finished());
        let mut applying = 0;
        for (id, under_way) in &self.under_way {
            // What is not applying yet never begins to; what is does not hear of it.
            under_way.wishes.plan.cancel();
            if self.fleet.store.run(*id)?.state == State::Applying {
                applying += 1;
            }
        }
        Ok(applying)
    }

    /// How many runs are under way.
    pub(crate) fn under_way(&mut self) -> usize {
        self.under_way.retain(|_, run| !run.task.is_finished());
        self.under_way.len()
    }
}
