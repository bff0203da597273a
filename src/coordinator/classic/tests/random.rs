//! Random members, losses, restarts and times against what must hold of any group:
//!
//! - whoever waits is answered, once;
//! - what a generation's members are given is what its leader gave, and no two have the same part;
//! - what is on disk is what a stable group is;
//! - members that behave come to a stable group, and a group that nobody is left in becomes empty.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;

const PARTITIONS: usize = 12;

/// What a client knows of itself.
#[derive(Clone, Debug)]
enum Life {
    /// Has an id, maybe an empty one, and belongs to nothing.
    Out {
        member_id: Str,
    },
    Joining {
        member_id: Str,
        ticket: Ticket,
    },
    Joined {
        response: JoinGroupResponse,
    },
    Syncing {
        response: JoinGroupResponse,
        ticket: Ticket,
    },
    Owning {
        response: JoinGroupResponse,
        assignment: Bytes,
    },
}

#[derive(Clone, Debug)]
struct Client {
    instance: Option<String>,
    version: i16,
    life: Life,
}

struct World {
    rig: Rig,
    rng: StdRng,
    clients: Vec<Client>,
    /// By generation, who was given each part: its member id, or its instance for one that comes and goes under it.
    owners: BTreeMap<(i32, u64, usize), String>,
    /// Tells assignments apart that are made for the same generation, one before a restart of the broker.
    next_assignment: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut rig = Rig::new();
        rig.config.initial_rebalance_delay_ms = *[0, 1, DELAY_MS].choose(&mut rng).unwrap();
        rig.config.max_size = *[3, 1000].choose(&mut rng).unwrap();
        let clients = (0..rng.random_range(1..7))
            .map(|i| Client {
                instance: rng.random_bool(0.4).then(|| format!("instance-{}", i % 4)),
                version: rng.random_range(5..=9),
                life: Life::Out { member_id: Str::default() },
            })
            .collect();
        World { rig, rng, clients, owners: BTreeMap::new(), next_assignment: 0 }
    }

    fn join(&mut self, i: usize, member_id: Str) {
        let client = &self.clients[i];
        let mut request = join_request(&member_id);
        request.group_instance_id = client.instance.as_deref().map(Str::from);
        request.rebalance_timeout_ms = *[0, 5000, REBALANCE_MS].choose(&mut self.rng).unwrap();
        if self.rng.random_bool(0.1) {
            request.protocols[0] = protocol("range", &subscription(&["u"]));
        }
        if self.rng.random_bool(0.1) {
            request.protocols.reverse();
        }
        self.rig.version = client.version;
        let ticket = self.rig.join_with(&request);
        self.clients[i].life = Life::Joining { member_id, ticket };
    }

    fn sync(&mut self, i: usize, response: JoinGroupResponse) {
        let mut request = sync_request(&response.member_id, response.generation_id, &[]);
        request.protocol_name.clone_from(&response.protocol_name);
        request.group_instance_id = self.clients[i].instance.as_deref().map(Str::from);
        if response.leader == response.member_id && !response.skip_assignment {
            let number = self.next_assignment;
            self.next_assignment += 1;
            let mut parts = vec![format!("{} {number}", response.generation_id); response.members.len()];
            for partition in 0..PARTITIONS {
                let part = &mut parts[partition % response.members.len()];
                *part = format!("{part} {partition}");
            }
            let ids = response.members.iter().map(|member| member.member_id.as_str());
            let given: Vec<(&str, &str)> = ids.zip(parts.iter().map(String::as_str)).collect();
            request.assignments = sync_request("", 0, &given).assignments;
        }
        self.rig.version = self.clients[i].version.min(5);
        let ticket = self.rig.sync_with(&request);
        self.clients[i].life = Life::Syncing { response, ticket };
    }

    /// Takes in what a client was answered.
    fn hear(&mut self, i: usize) {
        let client = &mut self.clients[i];
        match client.life.clone() {
            Life::Joining { member_id, ticket } if !self.rig.waits(ticket) => {
                let response = self.rig.joined(ticket);
                client.life = match error(response.error_code) {
                    ErrorCode::None => Life::Joined { response },
                    ErrorCode::MemberIdRequired => Life::Out { member_id: response.member_id },
                    ErrorCode::RebalanceInProgress | ErrorCode::NotCoordinator => Life::Out { member_id },
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupMaxSizeReached => {
                        Life::Out { member_id: Str::default() }
                    }
                    other => panic!("{other:?} to a join"),
                };
            }
            Life::Syncing { response, ticket } if !self.rig.waits(ticket) => {
                let answer = self.rig.synced(ticket);
                let member_id = response.member_id.clone();
                client.life = match error(answer.error_code) {
                    ErrorCode::None => {
                        let owner = client.instance.clone().unwrap_or_else(|| member_id.to_string());
                        own(&mut self.owners, &owner, response.generation_id, &answer.assignment);
                        Life::Owning { response, assignment: answer.assignment }
                    }
                    ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::NotCoordinator => {
                        Life::Out { member_id }
                    }
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => Life::Out { member_id: Str::default() },
                    other => panic!("{other:?} to a sync"),
                };
            }
            _ => {}
        }
    }

    fn heartbeat(&mut self, i: usize) {
        let client = self.clients[i].clone();
        let (Life::Joined { response } | Life::Owning { response, .. }) = &client.life else { return };
        let error = self.rig.heartbeat_as(&response.member_id, client.instance.as_deref(), response.generation_id);
        match error {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {
                self.clients[i].life = Life::Out { member_id: response.member_id.clone() };
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.clients[i].life = Life::Out { member_id: Str::default() };
            }
            other => panic!("{other:?} to a heartbeat"),
        }
    }

    fn leave(&mut self, i: usize) {
        let (Life::Out { member_id }
        | Life::Joining { member_id, .. }
        | Life::Joined { response: JoinGroupResponse { member_id, .. } }
        | Life::Syncing { response: JoinGroupResponse { member_id, .. }, .. }
        | Life::Owning { response: JoinGroupResponse { member_id, .. }, .. }) = self.clients[i].life.clone();
        let instance = self.clients[i].instance.clone();
        self.rig.leave(&[(&member_id, instance.as_deref())]);
        self.clients[i].life = Life::Out { member_id: Str::default() };
    }

    /// The broker is killed: the group is what its last record says, and all who waited lost their connection.
    fn restart(&mut self) {
        // Only those that the group knows of: one that it forgot is still to be missed in the end.
        let held = self.rig.group.members().flat_map(|it| it.joining.map(|it| it.ticket).into_iter().chain(it.syncing));
        for ticket in held {
            self.rig.answers.insert(ticket, refuse_sync(ErrorCode::NotCoordinator));
        }
        for client in &mut self.clients {
            if let Life::Joining { member_id, .. }
            | Life::Syncing { response: JoinGroupResponse { member_id, .. }, .. } = &client.life
            {
                client.life = Life::Out { member_id: member_id.clone() };
            }
        }
        self.rig.group = ClassicGroup::new("group");
        if let Some(record) = self.rig.records.last() {
            self.rig.group.replay(record.value.as_ref().unwrap()).unwrap();
        }
        self.rig.call(ClassicGroup::loaded);
    }

    fn act(&mut self) {
        let i = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..100) {
            0..30 => self.behave(i),
            30..40 => self.heartbeat(i),
            40..60 => self.hear(i),
            60..64 => self.leave(i),
            // Gone without a word; its next life knows nothing of this one.
            64..68 => self.clients[i].life = Life::Out { member_id: Str::default() },
            // A request sent again, or sent for no reason.
            68..72 => {
                if let Life::Joining { member_id, .. }
                | Life::Owning { response: JoinGroupResponse { member_id, .. }, .. } = self.clients[i].life.clone()
                {
                    self.join(i, member_id);
                }
            }
            72..75 => {
                if let Life::Syncing { response, .. } = self.clients[i].life.clone() {
                    self.sync(i, response);
                }
            }
            75 => self.restart(),
            _ => {
                let ms = *[0, 1, 500, 3000, 12_000, 40_000].choose(&mut self.rng).unwrap();
                self.pass(ms);
            }
        }
        self.check();
    }

    /// The next thing a client without faults does.
    fn behave(&mut self, i: usize) {
        self.hear(i);
        match self.clients[i].life.clone() {
            Life::Out { member_id } => self.join(i, member_id),
            Life::Joined { response } => self.sync(i, response),
            Life::Owning { .. } => self.heartbeat(i),
            Life::Joining { .. } | Life::Syncing { .. } => {}
        }
    }

    /// As [`Rig::pass`], but where a deadline may lie at the time it is set.
    fn pass(&mut self, ms: i64) {
        let end = self.rig.now_ms + ms;
        let mut looks = 0;
        while let Some(at) = self.rig.group.next_deadline().filter(|at| *at <= end) {
            self.rig.now_ms = self.rig.now_ms.max(at);
            self.rig.call(ClassicGroup::on_time);
            self.check();
            looks += 1;
            assert!(looks < 1000, "time does not pass");
        }
        self.rig.now_ms = end;
    }

    fn check(&self) {
        let group = &self.rig.group;
        let mut owned = BTreeSet::new();
        match group.state() {
            ClassicState::Empty => assert_eq!(group.member_count(), 0),
            ClassicState::Stable => {
                assert!(group.member_count() > 0);
                for member in group.members() {
                    for partition in parts(&member.assignment).2 {
                        assert!(owned.insert(partition), "{partition} is assigned twice");
                    }
                }
            }
            ClassicState::PreparingRebalance => {
                assert!(group.next_deadline().is_some(), "a rebalance has an end");
            }
            ClassicState::CompletingRebalance => {
                assert!(group.member_count() > 0);
                assert!(group.next_deadline().is_some(), "the wait for an assignment has an end");
            }
        }
        if matches!(group.state(), ClassicState::Empty | ClassicState::Stable)
            && let Some(record) = self.rig.records.last()
        {
            let mut read = ClassicGroup::new("group");
            read.replay(record.value.as_ref().unwrap()).unwrap();
            assert_eq!(read.describe(), group.describe());
            assert_eq!(read.generation_id(), group.generation_id());
            assert_eq!(read.offset_expiry(), group.offset_expiry());
        }
        let waiting = group.members().filter(|member| member.joining.is_some()).count();
        assert_eq!(group.members.joining(), waiting);
    }
}

/// Generation, number and partitions of an assignment.
fn parts(assignment: &[u8]) -> (i32, u64, Vec<usize>) {
    let mut words = std::str::from_utf8(assignment).unwrap().split_whitespace();
    let generation = words.next().map_or(-1, |word| word.parse().unwrap());
    let number = words.next().map_or(0, |word| word.parse().unwrap());
    (generation, number, words.map(|word| word.parse().unwrap()).collect())
}

fn own(owners: &mut BTreeMap<(i32, u64, usize), String>, owner: &str, generation_id: i32, assignment: &[u8]) {
    let (generation, number, partitions) = parts(assignment);
    assert!(assignment.is_empty() || generation == generation_id, "an assignment of another generation");
    for partition in partitions {
        let known = owners.entry((generation, number, partition)).or_insert_with(|| owner.to_owned());
        assert_eq!(known, owner, "{partition} of generation {generation} is owned twice");
    }
}

fn live(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..300 {
        world.act();
    }
    // From here on everybody behaves: instances are unique, and there is room for all.
    world.rig.config.max_size = 1000;
    let mut instances = BTreeSet::new();
    world.clients.retain(|client| client.instance.as_ref().is_none_or(|instance| instances.insert(instance.clone())));
    for _ in 0..600 {
        for i in 0..world.clients.len() {
            world.behave(i);
            world.check();
        }
        world.pass(1000);
    }
    assert_eq!(world.rig.group.state(), ClassicState::Stable);
    assert_eq!(world.rig.group.member_count(), world.clients.len());
    let mut owned = BTreeSet::new();
    for client in &world.clients {
        let Life::Owning { response, assignment } = &client.life else { panic!("{client:?} owns nothing") };
        assert_eq!(response.generation_id, world.rig.group.generation_id());
        owned.extend(parts(assignment).2);
    }
    assert_eq!(owned, (0..PARTITIONS).collect());
    // And then they are all gone.
    world.pass(600_000);
    assert!(world.rig.group.is_empty());
    assert_eq!(world.rig.group.next_deadline(), None);
    for ticket in (0..world.rig.next_ticket).map(Ticket) {
        assert!(!world.rig.waits(ticket), "{ticket:?} was never answered");
    }
}

fn cases() -> u32 {
    std::env::var("CORELANE_GROUP_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

proptest! {
    // CORELANE_GROUP_CASES=100000 for a long run.
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_group_keeps_its_promises(seed in any::<u64>()) {
        live(seed);
    }
}
