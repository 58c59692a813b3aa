//! Policies that do what none may: each is replaced, and no task is lost.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use amphi::policy::{Class, Decision, Estimate, Event};
use amphi::{Engine, Placement, Policy};

use crate::jobs::Double;
use crate::policy::{decision, with};

const SOON: Duration = Duration::from_secs(5);

/// Does one thing that no policy may do.
#[derive(Debug, Clone, Copy)]
enum Bad {
    PanicsAtDecide,
    PanicsAtObserve,
    PanicsAtEstimate,
    PanicsAtDrop,
    Auto,
    NoTask,
    MoreProbes,
    CallsItsEngine,
}

struct Broken(Bad, Arc<AtomicU32>, Arc<OnceLock<Engine>>);

impl Policy for Broken {
    fn decide(&mut self, _class: Class, _now: Duration) -> Decision {
        self.1.fetch_add(1, Ordering::Relaxed);
        match self.0 {
            Bad::PanicsAtDecide => panic!("on purpose"),
            Bad::CallsItsEngine => {
                // It waits for this very answer.
                let engine = self.2.get().expect("it is set before the first task");
                let _ = engine.run(Double(1));
                let _ = engine.worker_pids();
                decision(Placement::Process, 10)
            }
            Bad::Auto => decision(Placement::Auto, 10),
            Bad::NoTask | Bad::PanicsAtDrop => decision(Placement::Process, 0),
            Bad::MoreProbes => Decision { probes: 11, ..decision(Placement::Process, 10) },
            _ => decision(Placement::Process, 10),
        }
    }

    fn observe(&mut self, _event: &Event, _now: Duration) -> bool {
        assert!(!matches!(self.0, Bad::PanicsAtObserve), "on purpose");
        false
    }

    fn estimate(&self, _class: Class) -> Option<Estimate> {
        assert!(!matches!(self.0, Bad::PanicsAtEstimate), "on purpose");
        None
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        assert!(!matches!(self.0, Bad::PanicsAtDrop), "on purpose");
    }
}

#[test]
fn a_broken_policy_is_replaced_and_no_task_is_lost() {
    for bad in [
        Bad::PanicsAtDecide,
        Bad::PanicsAtObserve,
        Bad::PanicsAtEstimate,
        Bad::PanicsAtDrop,
        Bad::Auto,
        Bad::NoTask,
        Bad::MoreProbes,
        Bad::CallsItsEngine,
    ] {
        let asked = Arc::new(AtomicU32::new(0));
        let itself = Arc::new(OnceLock::new());
        let engine = with(Broken(bad, Arc::clone(&asked), Arc::clone(&itself)));
        let _ = itself.set(engine.clone());
        let first = engine.try_submit(Double(0)).unwrap();
        let _ = engine.explain::<Double>();
        assert_eq!(first.join_timeout(SOON).expect("no hang"), Ok(0), "{bad:?}");
        let tasks: Vec<_> = (0..500).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join_timeout(SOON).expect("no hang"), Ok(2 * n), "{bad:?}");
        }
        engine.drained_blocking();
        // Its successor keeps an account.
        let explained = engine.explain::<Double>();
        assert!(explained[0].estimate.is_some(), "{bad:?}: {explained:?}");
        let before = asked.load(Ordering::Relaxed);
        for n in 0..200 {
            assert_eq!(engine.run(Double(n)), Ok(2 * n), "{bad:?}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), before, "{bad:?}: it is asked no more");
        drop(engine);
    }
}
