//! The core budget: as many tokens as cores, shared by threads and lanes.
//!
//! A token is the right to keep one core busy. A pool thread holds one while it runs tasks, a lane
//! while it has a task in flight; a task is bound to a place only when a token is free for it.
//!
//! # Protocol: no member waits while a token is free
//! Member (wants a token): 1. try to take. 2. set its own `hungry` flag, count it (SeqCst).
//! 3. try again; on success clear the flag. 4. otherwise do nothing: it will be called.
//! Giver: 1. add to `free` (SeqCst). 2. load `hungry_count` (SeqCst). 3. if not zero, clear the
//! flag of the next hungry member in turn and call it.
//!
//! Either the giver's load sees the member's count, or the member's second try sees the token:
//! both are in the one order of SeqCst operations. A member that is called and needs no token any
//! more must call [`Budget::pass_on`]. Turns go round, so that neither place starves the other.
//!
//! A thread that runs a task *holds* its token ([`Budget::hold`]). When the task itself waits for
//! another one, the token is given back meanwhile ([`Budget::while_waiting`]); afterwards it is
//! taken whether one is free or not, so `free` may be below zero for a while.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

thread_local! {
    /// The address of the budget whose token the running task of this thread stands for; 0: none.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Puts [`HELD`] back when a run or a wait is over.
struct Held(usize);

impl Held {
    fn mark(address: usize) -> Self {
        Self(HELD.replace(address))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(self.0);
    }
}

/// Somebody who can be told that a token is free. Called without any lock of the budget's.
pub(crate) trait TokenUser: Send + Sync {
    fn token_is_free(&self);
}

/// See the module.
pub(crate) struct Budget {
    free: CachePadded<AtomicIsize>,
    hungry_count: CachePadded<AtomicUsize>,
    cores: usize,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    list: Vec<(Arc<AtomicBool>, Weak<dyn TokenUser>)>,
    turn: usize,
}

/// One member's flag: "call me".
#[derive(Clone)]
pub(crate) struct Appetite(Arc<AtomicBool>);

impl Appetite {
    pub(crate) fn is_hungry(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Budget {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            free: CachePadded::new(AtomicIsize::new(isize::try_from(cores).unwrap_or(1))),
            hungry_count: CachePadded::default(),
            cores,
            members: Mutex::default(),
        }
    }

    /// The budget of all engines of this process that were not given cores of their own: `cores`
    /// of the environment, or every core this process may use (affinity and cgroup quota
    /// considered by std). The first call decides.
    pub(crate) fn shared(cores: Option<usize>) -> Arc<Self> {
        static SHARED: OnceLock<Arc<Budget>> = OnceLock::new();
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::new(cores.unwrap_or_else(all)))))
    }

    pub(crate) fn cores(&self) -> usize {
        self.cores
    }

    /// Tokens that nobody has, as it looks now.
    pub(crate) fn free(&self) -> usize {
        usize::try_from(self.free.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Adds a member; it leaves when it has dropped what this returns. (Its `Weak` says nothing
    /// before it is constructed, and another may join meanwhile.)
    pub(crate) fn join(&self, member: Weak<dyn TokenUser>) -> Appetite {
        let flag = Arc::new(AtomicBool::new(false));
        let mut members = self.members.lock();
        members.list.retain(|(flag, _)| {
            let alive = Arc::strong_count(flag) > 1;
            // Pairs with the swap in `take_or_wait`.
            if !alive && flag.swap(false, Ordering::SeqCst) {
                self.hungry_count.fetch_sub(1, Ordering::SeqCst); // pairs with `take_or_wait`
            }
            alive
        });
        members.list.push((Arc::clone(&flag), member));
        Appetite(flag)
    }

    /// Takes a token if one is free.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        let mut free = self.free.load(Ordering::SeqCst); // pairs with the add in `give_back`
        while free > 0 {
            let (new, order) = (free - 1, Ordering::SeqCst); // pairs with the add in `give_back`
            match self.free.compare_exchange_weak(free, new, order, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => free = now,
            }
        }
        false
    }

    /// Takes a token, or arranges that the member is called when one is free.
    pub(crate) fn take_or_wait(&self, member: &Appetite) -> bool {
        if self.take() {
            return true;
        }
        // Pairs with the swap in `call_next`.
        if !member.0.swap(true, Ordering::SeqCst) {
            self.hungry_count.fetch_add(1, Ordering::SeqCst); // pairs with the load in `pass_on`
        }
        if !self.take() {
            return false;
        }
        self.sated(member);
        true
    }

    /// Waits for a turn although a token may be free: somebody else has waited longer.
    pub(crate) fn wait_for_turn(&self, member: &Appetite) {
        // Pairs with the swap in `call_next`.
        if !member.0.swap(true, Ordering::SeqCst) {
            self.hungry_count.fetch_add(1, Ordering::SeqCst); // pairs with the load in `pass_on`
        }
    }

    /// True while somebody but `member` waits for a token.
    pub(crate) fn is_wanted_by_others(&self, member: &Appetite) -> bool {
        self.hungry_count.load(Ordering::Relaxed) > usize::from(member.is_hungry())
    }

    /// Runs a task under a token that this thread has taken.
    pub(crate) fn hold<R>(&self, run: impl FnOnce() -> R) -> R {
        let _held = Held::mark(self.address());
        run()
    }

    /// This thread is inside [`hold`](Self::hold).
    pub(crate) fn is_held_here(&self) -> bool {
        HELD.get() == self.address()
    }

    /// Takes a token whether one is free or not.
    pub(crate) fn take_anyway(&self) {
        self.free.fetch_sub(1, Ordering::SeqCst); // pairs with the add in `give_back`
    }

    /// Takes a token whether one is free or not, for this thread until it lets it go.
    pub(crate) fn hold_on(&self) {
        self.take_anyway();
        HELD.set(self.address());
    }

    /// The end of [`hold_on`](Self::hold_on).
    pub(crate) fn let_go(&self) {
        if self.is_held_here() {
            HELD.set(0);
            self.give_back();
        }
    }

    /// Gives the held token back while `wait` lasts. Where none is held, it just waits.
    pub(crate) fn while_waiting(&self, wait: impl FnOnce()) {
        if !self.is_held_here() {
            return wait();
        }
        struct TakeAgain<'a>(&'a Budget);
        impl Drop for TakeAgain<'_> {
            fn drop(&mut self) {
                self.0.free.fetch_sub(1, Ordering::SeqCst); // pairs with the add in `give_back`
            }
        }
        let _marked = Held::mark(0);
        self.give_back();
        let _again = TakeAgain(self); // also where `wait` unwinds
        wait();
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn sated(&self, member: &Appetite) {
        // Pairs with the swap in `call_next`: one of the two counts the member off.
        if member.0.swap(false, Ordering::SeqCst) {
            self.hungry_count.fetch_sub(1, Ordering::SeqCst); // pairs with the load in `pass_on`
        }
    }

    /// Gives a token back and calls the next who waits for one. Not under a member's lock.
    #[inline]
    pub(crate) fn give_back(&self) {
        let before = self.free.fetch_add(1, Ordering::SeqCst); // pairs with the loads in `take`
        debug_assert!(before < self.cores as isize, "a token was given back twice");
        self.pass_on();
    }

    /// Calls the next member that waits, if a token is free. Not under a member's lock.
    #[inline]
    pub(crate) fn pass_on(&self) {
        // Pairs with the add in `take_or_wait`.
        let hungry = self.hungry_count.load(Ordering::SeqCst) > 0;
        // Without a free token a call would only make its member hungry again; pairs with `take`.
        if hungry && self.free.load(Ordering::SeqCst) > 0 {
            self.call_next();
        }
    }

    /// True while some member waits for a token: whoever holds one lets it go after its task.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.hungry_count.load(Ordering::Relaxed) > 0
    }

    #[cold]
    fn call_next(&self) {
        let member = {
            let mut members = self.members.lock();
            let count = members.list.len();
            let turn = members.turn;
            let next = (0..count).map(|step| (turn + step) % count).find(|&index| {
                // Pairs with the swap in `take_or_wait`.
                members.list[index].0.swap(false, Ordering::SeqCst)
            });
            let Some(index) = next else { return };
            self.hungry_count.fetch_sub(1, Ordering::SeqCst); // pairs with `take_or_wait`
            members.turn = index + 1;
            members.list[index].1.upgrade()
        };
        match member {
            Some(member) => member.token_is_free(),
            None => self.pass_on(),
        }
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("cores", &self.cores).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is called, and has an appetite as a pool does.
    struct Member {
        appetite: Appetite,
        calls: AtomicUsize,
    }

    impl Member {
        fn new(budget: &Budget, meanwhile: impl FnOnce()) -> Arc<Self> {
            Arc::new_cyclic(|weak: &Weak<Self>| {
                let appetite = budget.join(weak.clone() as Weak<dyn TokenUser>);
                meanwhile();
                Self { appetite, calls: AtomicUsize::new(0) }
            })
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::Relaxed)
        }
    }

    impl TokenUser for Member {
        fn token_is_free(&self) {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_member_that_joins_while_another_is_made_is_called_and_so_is_the_other() {
        let budget = Budget::new(1);
        let mut second = None;
        let first = Member::new(&budget, || second = Some(Member::new(&budget, || {})));
        let second = second.unwrap();
        assert!(budget.take());
        assert!(!budget.take_or_wait(&first.appetite));
        assert!(!budget.take_or_wait(&second.appetite));
        budget.give_back();
        budget.pass_on();
        assert_eq!((first.calls(), second.calls()), (1, 1));
    }

    #[test]
    fn turns_go_round_and_the_dead_are_passed_over() {
        let budget = Budget::new(1);
        let members: Vec<_> = (0..3).map(|_| Member::new(&budget, || {})).collect();
        for _ in 0..2 {
            for member in &members {
                budget.wait_for_turn(&member.appetite);
            }
            (0..3).for_each(|_| budget.pass_on());
        }
        assert!(members.iter().all(|member| member.calls() == 2));
        members.iter().for_each(|member| budget.wait_for_turn(&member.appetite));
        let last = Arc::clone(&members[2]);
        drop(members);
        budget.pass_on();
        assert_eq!(last.calls(), 3);
        assert!(!budget.is_wanted_by_others(&last.appetite));
    }

    #[test]
    fn a_held_token_is_lent_while_its_task_waits() {
        let budget = Budget::new(1);
        assert!(budget.take());
        budget.hold(|| {
            assert!(budget.is_held_here());
            budget.while_waiting(|| {
                assert!(!budget.is_held_here());
                assert!(budget.take(), "somebody else has it");
            });
            assert!(budget.is_held_here());
        });
        budget.give_back();
        assert!(!budget.take(), "the one that was taken meanwhile is still out");
        budget.give_back();
        assert!(budget.take());
    }
}
