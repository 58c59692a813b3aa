//! What holds of the policy whatever happens: its answers are sound, its bounds are kept, more bytes
//! never speak for a process.

use std::time::Duration;

use amphi::policy::{Adaptive, Class, Costs, Decision, Event, Placement, Policy, Ran, Tuning};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use crate::random::Random;

const COSTS: Costs =
    Costs { thread_ns: 3000.0, process_ns: 12_000.0, byte_ns: 0.5, large_byte_ns: 0.5 };

/// Any number that a broken clock or a broken worker could come to.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(0.0),
        Just(-1.0),
        Just(f64::MAX),
        0.0..1e9,
    ]
}

fn place() -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Thread), Just(Placement::Process), Just(Placement::Auto)]
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Decide(u32),
    Observe(Event),
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = [number(), number(), number(), number(), number()];
    let ran = (0..4_u32, place(), numbers);
    prop_oneof![
        3 => (0..4_u32).prop_map(Step::Decide),
        5 => ran.prop_map(|(job, placement, [service_ns, bytes_in, bytes_out, tasks, over])| {
            let (class, over_ns) = (Class { job, size: 3 }, Some(over));
            let ran = Ran { class, placement, service_ns, bytes_in, bytes_out, tasks, over_ns };
            Step::Observe(Event::Ran(ran))
        }),
        1 => [number(), number(), number(), number()].prop_map(|[thread_ns, process_ns, byte_ns, large_byte_ns]| {
            Step::Observe(Event::Calibrated(Costs { thread_ns, process_ns, byte_ns, large_byte_ns }))
        }),
    ]
}

fn is_sound(decision: &Decision) -> bool {
    decision.placement != Placement::Auto
        && decision.tasks > 0
        && decision.probes <= decision.tasks
        && decision.tasks < 1000
}

fn observe(policy: &mut Adaptive, placement: Placement, service_ns: f64, bytes: f64) -> bool {
    let class = Class { job: 0, size: 0 };
    let (bytes_in, bytes_out) = (bytes, bytes / 2.0);
    let ran = Ran { class, placement, service_ns, bytes_in, bytes_out, tasks: 1.0, over_ns: None };
    policy.observe(&Event::Ran(ran), Duration::ZERO)
}

proptest! {
    // A failure prints its seed; no file keeps it.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_sound_whatever_is_observed(
        steps in vec((step(), any::<u64>()), 1..400),
    ) {
        let (mut policy, mut twin) = (Adaptive::new(), Adaptive::new());
        for (step, now) in steps {
            let now = Duration::from_nanos(now); // the clock jumps
            match step {
                Step::Decide(job) => {
                    let class = Class { job, size: 3 };
                    let decision = policy.decide(class, now);
                    prop_assert!(is_sound(&decision), "{decision:?}");
                    let again = twin.decide(class, Duration::ZERO);
                    prop_assert_eq!(format!("{decision:?}"), format!("{again:?}"), "a twin decides alike");
                    let estimate = decision.estimate.expect("it keeps an account");
                    prop_assert!(estimate.process_over_ns.is_finite());
                    prop_assert!(estimate.thread_ns.is_none_or(f64::is_finite));
                    prop_assert!(estimate.process_ns.is_none_or(f64::is_finite));
                }
                Step::Observe(event) => {
                    prop_assert_eq!(policy.observe(&event, now), twin.observe(&event, now));
                }
            }
        }
    }

    /// The same history with longer inputs: where the shorter ones stay on threads, so do these.
    #[test]
    fn more_bytes_never_turn_a_thread_into_a_process(
        samples in vec((any::<bool>(), 1e3..1e7_f64), 12..200),
        bytes in 0.0..1e6_f64,
        factor in 1.0..100.0_f64,
        process_ns in 0.0..20_000.0_f64,
    ) {
        let costs = Costs { process_ns, ..COSTS };
        let places = [bytes, bytes * factor].map(|bytes| {
            let mut policy = Adaptive::new();
            policy.observe(&Event::Calibrated(costs), Duration::ZERO);
            for (on_thread, service) in &samples {
                let place = if *on_thread { Placement::Thread } else { Placement::Process };
                observe(&mut policy, place, *service, bytes);
                // A change of place is not compared any further.
                let class = Class { job: 0, size: 0 };
                if policy.estimate(class).is_some_and(|estimate| estimate.flips > 0) {
                    return Placement::Process;
                }
            }
            Placement::Thread
        });
        prop_assert!(
            places != [Placement::Thread, Placement::Process],
            "{bytes} bytes stay on threads, {} do not", bytes * factor
        );
    }

    #[test]
    fn probes_cost_no_more_than_their_budget(
        seed in any::<u64>(),
        thread in 1e3..1e6_f64,
        slowdown in 1.0..4.0_f64,
        bytes in 0.0..1e6_f64,
    ) {
        let process = thread * slowdown;
        let (mut random, mut policy) = (Random::new(seed), Adaptive::new());
        policy.observe(&Event::Calibrated(COSTS), Duration::ZERO);
        let class = Class { job: 0, size: 0 };
        let over = COSTS.process_ns + COSTS.byte_ns * 1.5 * bytes - COSTS.thread_ns;
        let (mut spent, mut core, mut left) = (0.0, 0.0, 5000_u32);
        while left > 0 {
            let decision = policy.decide(class, Duration::ZERO);
            for task in 0..decision.tasks.min(left) {
                let probe = task < decision.probes;
                let on_thread = (decision.placement == Placement::Thread) != probe;
                if on_thread {
                    let service = random.near(thread);
                    core += service;
                    observe(&mut policy, Placement::Thread, service, bytes);
                } else {
                    let service = random.near(process);
                    core += service + over;
                    spent += (service + over - thread).max(0.0);
                    observe(&mut policy, Placement::Process, service, bytes);
                }
            }
            left -= decision.tasks.min(left);
        }
        // What was not foreseen of the first two cohorts comes on top: nothing was known of them.
        let cohort = 4.0 * (process + over);
        let budget = 0.011 * core + 1e6 + 3.0 * cohort;
        prop_assert!(spent <= budget, "{spent} ns of {budget}");
    }

    #[test]
    fn a_class_that_stays_as_it_is_changes_its_place_seldom(
        seed in any::<u64>(),
        thread in 1e4..1e6_f64,
        ratio in 0.3..3.0_f64,
        sigma in 0.05..1.0_f64,
    ) {
        let (mut random, mut policy) = (Random::new(seed), Adaptive::new());
        policy.observe(&Event::Calibrated(COSTS), Duration::ZERO);
        let class = Class { job: 0, size: 0 };
        let (mut flips, mut tasks) = (0_u32, 0_u32);
        while tasks < 6000 {
            let decision = policy.decide(class, Duration::ZERO);
            for task in 0..decision.tasks {
                let probe = task < decision.probes;
                let on_thread = (decision.placement == Placement::Thread) != probe;
                let (place, mean) = if on_thread {
                    (Placement::Thread, thread)
                } else {
                    (Placement::Process, thread * ratio)
                };
                tasks += 1;
                if observe(&mut policy, place, random.log_normal(mean, sigma), 64.0) {
                    flips += 1;
                    break;
                }
            }
        }
        prop_assert!(flips <= 2 + tasks / 1000, "{flips} flips in {tasks} tasks");
    }
}

/// Costs of one's own may say so.
#[test]
fn cheap_dispatch_does_not_hide_what_a_process_costs() {
    let costs = Costs { thread_ns: 50_000.0, process_ns: 0.0, byte_ns: 0.0, large_byte_ns: 0.0 };
    let flips_at = |process_ns: f64| {
        let (mut policy, class) = (Adaptive::new(), Class { job: 0, size: 0 });
        policy.observe(&Event::Calibrated(costs), Duration::ZERO);
        for _ in 0..100 {
            observe(&mut policy, Placement::Thread, 100_000.0, 0.0);
            observe(&mut policy, Placement::Process, process_ns, 0.0);
        }
        policy.estimate(class).is_some_and(|estimate| estimate.flips > 0)
    };
    assert!(flips_at(100_000.0), "a process saves the 50 µs of dispatch");
    assert!(!flips_at(200_000.0), "the job is dearer there than what dispatch saves");
}

#[test]
fn no_room_for_classes_is_room_for_one() {
    let mut tuning = Tuning::default();
    tuning.classes_max = 0;
    let mut policy = Adaptive::with(tuning);
    for job in 0..10 {
        assert!(is_sound(&policy.decide(Class::of(job, 0), Duration::ZERO)));
        assert_eq!(policy.classes(), 1);
    }
}

#[test]
fn a_hundred_thousand_classes_do_not_grow_without_bound() {
    let mut policy = Adaptive::new();
    policy.observe(&Event::Calibrated(COSTS), Duration::ZERO);
    for job in 0..100_000_u32 {
        let class = Class::of(job, u64::from(job) * 37);
        assert!(is_sound(&policy.decide(class, Duration::ZERO)));
        let ran = Ran {
            class,
            placement: Placement::Thread,
            service_ns: 1e5,
            bytes_in: 10.0,
            bytes_out: 0.0,
            tasks: 1.0,
            over_ns: None,
        };
        policy.observe(&Event::Ran(ran), Duration::ZERO);
        assert!(policy.classes() <= 4096);
    }
}

#[test]
fn every_length_has_its_class() {
    for bytes in (0..63).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, u64::MAX - (1 << bit)]) {
        let class = Class::of(0, bytes);
        assert!(usize::from(class.size) < Class::SIZES);
        assert!(class.bytes_from() <= bytes && bytes <= class.bytes_to(), "{bytes}");
    }
}
