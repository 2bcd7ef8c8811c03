//! A handful of players in one thread, to be looked at whenever a test likes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chunk_sync::ids::EntityId;
use chunk_sync::place::Place;

use crate::eventually;
use crate::player::Player;

/// Pause between two turns of all players.
const TURN_EVERY: Duration = Duration::from_millis(5);
/// How long getting in may take.
const ENTER_WAIT: Duration = Duration::from_secs(20);
/// A client that got nothing for this long is not being served: rosters and keyframes come every two seconds.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(3);
const BUFFER_BYTES: usize = 64 * 1024;

/// The players of a test; they leave when it ends.
pub(crate) struct Players {
    all: Arc<Mutex<Vec<Player>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    began: Instant,
}

impl Players {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        let (all, stop) = (Arc::<Mutex<Vec<Player>>>::default(), Arc::<AtomicBool>::default());
        let (driven, stopped, began) = (Arc::clone(&all), Arc::clone(&stop), Instant::now());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; BUFFER_BYTES];
            while !stopped.load(Ordering::Relaxed) {
                let now_ms = began.elapsed().as_millis() as u64;
                let mut players = driven.lock().unwrap_or_else(PoisonError::into_inner);
                players.iter_mut().for_each(|player| player.turn(now_ms, &mut buffer));
                drop(players);
                std::thread::sleep(TURN_EVERY);
            }
        });
        Self { all, stop, thread: Some(thread), began }
    }

    /// Sends one more on its way; returns its index.
    pub(crate) fn send(&self, allocator: &str, name: &str, walks: bool) -> usize {
        let now_ms = self.began.elapsed().as_millis() as u64;
        let mut all = self.look();
        all.push(Player::new(allocator, name, walks, now_ms));
        all.len() - 1
    }

    /// Sends one more on its way and waits until it is in; returns its index.
    pub(crate) fn enter(&self, allocator: &str, name: &str, walks: bool) -> usize {
        let index = self.send(allocator, name, walks);
        self.await_inside(index);
        index
    }

    /// Waits until it is in.
    pub(crate) fn await_inside(&self, index: usize) {
        eventually("the player is in", ENTER_WAIT, || {
            let all = self.look();
            if all[index].is_inside() { Ok(()) } else { Err(format!("{:?}", all[index].events)) }
        });
    }

    /// The players as they are now. They stand still as long as this is held.
    pub(crate) fn look(&self) -> MutexGuard<'_, Vec<Player>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of one node, by index.
    pub(crate) fn of_node(&self, node: u32) -> Vec<usize> {
        self.indices(|player| player.node == node)
    }

    /// Those of other nodes, by index.
    pub(crate) fn not_of_node(&self, node: u32) -> Vec<usize> {
        self.indices(|player| player.node != node)
    }

    fn indices(&self, which: impl Fn(&Player) -> bool) -> Vec<usize> {
        let all = self.look();
        all.iter().enumerate().filter(|(_, player)| which(player)).map(|(index, _)| index).collect()
    }

    /// Panics unless each of these is inside, without any trouble so far, and was served lately.
    pub(crate) fn are_well(&self, indices: &[usize]) {
        let all = self.look();
        for player in indices.iter().map(|index| &all[*index]) {
            assert!(player.is_inside(), "{}: {:?}", player.name, player.events);
            assert_eq!(player.trouble(), None, "{}", player.name);
            assert!(player.heard.elapsed() < SILENCE_MAX, "{} hears nothing", player.name);
        }
    }

    /// Waits until each of `watchers` sees exactly `who`.
    pub(crate) fn await_seen(&self, watchers: &[usize], who: &[usize], within: Duration) {
        eventually("everybody sees whom they should see", within, || {
            let all = self.look();
            let wanted = who.iter().map(|index| all[*index].entity).collect();
            let wrong = watchers.iter().map(|index| &all[*index]).find(|watcher| watcher.seen() != wanted);
            match wrong {
                None => Ok(()),
                Some(watcher) => Err(format!("{} sees {:?}, not {wanted:?}", watcher.name, watcher.seen())),
            }
        });
    }

    /// Makes everybody stand still, and waits until each of `who` sees each of `who` where it stands by its own account.
    pub(crate) fn await_agreement(&self, who: &[usize], within: Duration) {
        self.look().iter_mut().for_each(|player| player.walks = false);
        eventually("all replicas agree with the players themselves", within, || {
            let all = self.look();
            let own: BTreeMap<EntityId, Place> =
                who.iter().map(|index| (all[*index].entity, all[*index].client.place())).collect();
            for watcher in who.iter().map(|index| &all[*index]) {
                let seen: BTreeMap<EntityId, Place> = watcher
                    .replica
                    .entities()
                    .filter(|entity| own.contains_key(&entity.id))
                    .map(|entity| (entity.id, entity.place))
                    .collect();
                if seen != own {
                    return Err(format!("{} sees {seen:?}, but it is {own:?}", watcher.name));
                }
            }
            Ok(())
        });
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the players' thread broke");
    }
}
