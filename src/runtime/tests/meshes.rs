use std::{rc::Rc, sync::Arc};

use super::{
    mesh::{Endpoint, Kind, mesh_with_capacity},
    *,
};
use crate::types::ShardId;

#[derive(Debug, PartialEq)]
enum Message {
    Ask(u32),
    Reply(u32),
    Note(u32),
    Done,
}

/// Each shard asks every shard, itself included, `count` times from several tasks, and answers what it is asked.
async fn converse(endpoint: Endpoint<Message>, count: u32) -> (u32, u32) {
    let had_msg_ring = crate::runtime::features().has(Feature::MsgRing);
    let endpoint = Rc::new(endpoint);
    let shards = endpoint.shards() as u32;
    let tasks = 4;
    let mut asking = Vec::new();
    for task in 0..tasks {
        let endpoint = Rc::clone(&endpoint);
        asking.push(spawn(async move {
            for n in 0..count {
                for to in 0..shards {
                    endpoint.request(ShardId(to as u16), Message::Ask(n)).await;
                    if n % 5 == 0 {
                        endpoint.send(ShardId(to as u16), Message::Note(task)).await;
                    }
                }
            }
            for to in 0..shards {
                endpoint.send(ShardId(to as u16), Message::Done).await;
            }
        }));
    }
    let (mut replies, mut notes, mut done) = (0, 0, 0);
    while done < shards * tasks || replies < shards * tasks * count {
        match endpoint.recv_kind().await {
            (from, Kind::Request, Message::Ask(n)) => endpoint.answer(from, Message::Reply(n)),
            (_, Kind::Answer, Message::Reply(_)) => replies += 1,
            (_, Kind::Request, Message::Note(_)) => notes += 1,
            (_, Kind::Request, Message::Done) => done += 1,
            other => panic!("{other:?}"),
        }
    }
    for task in asking {
        task.await;
    }
    if had_msg_ring {
        assert!(crate::runtime::features().has(Feature::MsgRing), "a ring between shards failed");
    }
    (replies, notes)
}

fn converse_on(shards: usize, capacity: usize, count: u32, mask: FeatureSet) {
    let threads: Vec<_> = mesh_with_capacity::<Message>(shards, capacity)
        .into_iter()
        .map(|endpoint| threads::spawn("mesh", None, move || masked(mask).block_on(converse(endpoint, count))).unwrap())
        .collect();
    for thread in threads {
        let (replies, notes) = thread.join().unwrap();
        assert_eq!(replies, shards as u32 * 4 * count);
        assert_eq!(notes, shards as u32 * 4 * count.div_ceil(5));
    }
}

#[test]
fn two_shards_ask_each_other_through_the_smallest_queues() {
    for mask in masks() {
        println!("masked: {mask}");
        converse_on(2, 1, 200, mask);
    }
}

#[test]
fn shards_ask_each_other_under_load() {
    converse_on(2, 64, 5000, FeatureSet::NONE);
    converse_on(2, 64, 5000, FeatureSet::all());
    converse_on(4, 8, 500, FeatureSet::NONE);
}

#[test]
fn messages_sent_before_the_peer_lives_arrive() {
    let mut ends = mesh_with_capacity::<Message>(2, 4);
    let (second, first) = (ends.pop().unwrap(), ends.pop().unwrap());
    run(async move {
        first.send(ShardId(1), Message::Note(1)).await;
        first.try_send(ShardId(1), Message::Note(2)).unwrap();
    });
    run(async move {
        assert_eq!(second.recv().await, (ShardId(0), Message::Note(1)));
        assert_eq!(second.recv().await, (ShardId(0), Message::Note(2)));
        assert_eq!(second.try_recv(), None);
    });
}

#[test]
fn a_full_queue_gives_the_message_back() {
    let mut ends = mesh_with_capacity::<Arc<()>>(2, 2);
    let first = ends.remove(0);
    let message = Arc::new(());
    run(async {
        assert!(first.try_send(ShardId(1), Arc::clone(&message)).is_ok());
        assert!(first.try_send(ShardId(1), Arc::clone(&message)).is_ok());
        assert!(first.try_send(ShardId(1), Arc::clone(&message)).is_err());
        assert!(first.try_send(ShardId(0), Arc::clone(&message)).is_ok());
    });
    drop((first, ends));
    assert_eq!(Arc::strong_count(&message), 1, "what nobody received is dropped with the mesh");
}
