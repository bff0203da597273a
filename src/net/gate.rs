//! Who may connect: the bounds over all shards.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Counts the connections of the process, in all and by address.
pub struct Gate {
    connections: AtomicUsize,
    connections_max: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    of_address_max: Box<dyn Fn(IpAddr) -> usize + Send + Sync>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// `max.connections.per.ip` and its overrides.
    Address { max: usize },
}

impl Gate {
    /// `connections_max` is `max.connections`; `of_address_max` gives `max.connections.per.ip` of an address.
    pub fn new(connections_max: usize, of_address_max: impl Fn(IpAddr) -> usize + Send + Sync + 'static) -> Arc<Gate> {
        Arc::new(Gate {
            connections: AtomicUsize::new(0),
            connections_max,
            by_address: Mutex::default(),
            of_address_max: Box::new(of_address_max),
        })
    }

    /// Open connections of the process.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection, if there is one.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Place> {
        let max = self.connections_max;
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1))
            .ok()
            .map(|_| Place { gate: Arc::clone(self), address: None })
    }
}

/// A connection's place. Dropping it frees it.
pub(super) struct Place {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

impl Place {
    /// Counts the connection for its address too.
    pub fn take(&mut self, address: IpAddr) -> Result<(), Refusal> {
        // An IPv4 client of a dual-stack listener is the same client.
        let address = address.to_canonical();
        let max = (self.gate.of_address_max)(address);
        let mut addresses = self.gate.addresses();
        let count = addresses.entry(address).or_insert(0);
        if *count >= max {
            if *count == 0 {
                addresses.remove(&address);
            }
            return Err(Refusal::Address { max });
        }
        *count += 1;
        drop(addresses);
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut addresses = self.gate.addresses();
            if let Some(count) = addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&address);
                }
            }
        }
        self.gate.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address() {
        let favoured: IpAddr = "10.0.0.1".parse().unwrap();
        let other: IpAddr = "10.0.0.2".parse().unwrap();
        let gate = Gate::new(4, move |address| if address == favoured { 3 } else { 1 });
        let enter = |address| {
            let mut place = gate.reserve()?;
            place.take(address).ok().map(|()| place)
        };
        let places: Vec<_> = (0..3).map(|_| enter(favoured).unwrap()).collect();
        assert!(enter(favoured).is_none(), "its own bound");
        let mapped: IpAddr = "::ffff:10.0.0.2".parse().unwrap();
        let last = enter(mapped).unwrap();
        assert!(gate.reserve().is_none(), "the bound of all");
        drop(places);
        assert!(enter(other).is_none(), "the mapped address is the same one");
        drop(last);
        assert!(enter(other).is_some());
        assert_eq!(gate.connections(), 0);
        assert!(gate.addresses().is_empty());
    }
}
