use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use super::*;

#[test]
fn tasks_run_in_order_and_give_their_output() {
    run_masked(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..1000)
            .map(|n| {
                let order = Rc::clone(&order);
                spawn(async move {
                    yield_now().await;
                    order.borrow_mut().push(n);
                    n * 2
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await, n * 2);
        }
        assert!(order.borrow().is_sorted());
    });
}

#[test]
fn a_dropped_task_goes_on_and_a_cancelled_one_does_not() {
    run(async {
        let done = Rc::new(Cell::new(0));
        let add = |by: i32| {
            let done = Rc::clone(&done);
            async move {
                yield_now().await;
                done.set(done.get() + by);
            }
        };
        drop(spawn(add(1)));
        assert_eq!(spawn(add(10)).cancel().await, None);
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(done.get(), 1);
    });
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    run_masked(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [30u64, 10, 20, 0, 10]
            .into_iter()
            .map(|ms| {
                let order = Rc::clone(&order);
                spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    order.borrow_mut().push(ms);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [0, 10, 10, 20, 30]);
    });
}

#[test]
fn a_timeout_drops_what_takes_too_long() {
    run(async {
        struct Guard(Rc<Cell<bool>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Rc::new(Cell::new(false));
        let guard = Guard(Rc::clone(&dropped));
        let slow = async move {
            let _guard = guard;
            sleep(Duration::from_secs(3600)).await;
        };
        assert_eq!(timeout(Duration::from_millis(1), slow).await, Err(TimedOut));
        assert!(dropped.get());
        assert_eq!(timeout(Duration::from_secs(3600), async { 5 }).await, Ok(5));
        sleep(Duration::MAX).reset(now());
    });
}

#[test]
fn what_asked_for_the_end_of_the_turn_runs_behind_all_ready_tasks() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let gatherer = {
            let seen = Rc::clone(&seen);
            spawn(async move {
                end_of_turn().await;
                seen.get()
            })
        };
        for _ in 0..50 {
            let seen = Rc::clone(&seen);
            drop(spawn(async move {
                yield_now().await;
                seen.set(seen.get() + 1);
            }));
        }
        assert_eq!(gatherer.await, 50);
    });
}

#[test]
fn other_threads_wake_a_sleeping_shard() {
    run_masked(|| async {
        let handle = handle();
        let count = Arc::new(AtomicUsize::new(0));
        let event = Rc::new(sync::Event::new());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (handle, count) = (handle.clone(), Arc::clone(&count));
                threads::spawn("poke", None, move || {
                    for _ in 0..100 {
                        let count = Arc::clone(&count);
                        handle.spawn(move || async move {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                })
                .unwrap()
            })
            .collect();
        drop(event);
        for thread in threads {
            offload(move || thread.join().unwrap()).await;
        }
        while count.load(Ordering::Relaxed) < 200 {
            yield_now().await;
        }
    });
}

#[test]
fn offloaded_calls_come_back_and_carry_their_panics() {
    run_masked(|| async {
        let calls: Vec<_> = (0..50).map(|n| spawn(offload(move || n + 1))).collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await, n + 1);
        }
        drop(offload(|| 1));
    });
    let panicked = std::panic::catch_unwind(|| run(offload(|| panic!("on purpose"))));
    assert!(panicked.is_err());
}

#[test]
fn dropping_a_runtime_drops_its_tasks_and_what_they_hold() {
    for mask in masks() {
        let alive = Rc::new(());
        let runtime = masked(mask);
        runtime.block_on(async {
            for _ in 0..20 {
                let (held, event) = (Rc::clone(&alive), sync::Event::new());
                drop(spawn(async move {
                    event.listen().await;
                    drop(held);
                }));
                let held = Rc::clone(&alive);
                drop(spawn(async move {
                    sleep(Duration::from_secs(3600)).await;
                    drop(held);
                }));
                let held = Rc::clone(&alive);
                drop(spawn(async move {
                    let inner = spawn(std::future::pending::<()>());
                    inner.await;
                    drop(held);
                }));
            }
            yield_now().await;
        });
        assert_eq!(Rc::strong_count(&alive), 61);
        drop(runtime);
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}

#[test]
fn a_waker_that_outlives_its_runtime_does_nothing() {
    let waker = run(std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    waker.wake();
    let task_waker = run(async { spawn(std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone()))).await });
    task_waker.wake();
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = Runtime::new(&options()).unwrap();
    runtime.block_on(async {
        drop(spawn(std::future::poll_fn(move |cx| {
            let _ = sender.send(cx.waker().clone());
            Poll::<()>::Pending
        })));
        yield_now().await;
    });
    drop(runtime);
    for waker in receiver {
        waker.wake();
    }
}

#[test]
fn a_spinning_shard_still_serves_timers_and_other_threads() {
    let options = RuntimeOptions { spin: Duration::from_micros(200), ..options() };
    Runtime::new(&options).unwrap().block_on(async {
        sleep(Duration::from_millis(2)).await;
        for n in 0..20 {
            assert_eq!(offload(move || n).await, n);
        }
    });
}

#[test]
fn many_runtimes_one_after_the_other_leave_nothing_registered() {
    // A thread has 16 places for registered rings.
    for _ in 0..64 {
        let runtime = Runtime::new(&options()).unwrap();
        assert!(runtime.features().has(Feature::RegisteredRing));
        runtime.block_on(yield_now());
    }
}

#[test]
fn a_shard_that_is_always_busy_comes_to_its_end_of_turn_and_its_completions() {
    run_masked(|| async {
        let stop = Rc::new(Cell::new(false));
        for _ in 0..1000 {
            let stop = Rc::clone(&stop);
            drop(spawn(async move {
                while !stop.get() {
                    yield_now().await;
                }
            }));
        }
        for _ in 0..3 {
            spawn(end_of_turn()).await;
            sleep(Duration::from_millis(1)).await;
            assert_eq!(offload(|| 1).await, 1);
        }
        stop.set(true);
    });
}
