use std::sync::Arc;

use bytes::Bytes;

use super::{
    file::{AlignedBuf, RawFile, fdatasync, fsync, read_at, write_at, writev_at},
    fs::OpenFlags,
    *,
};

fn scratch() -> (tempfile::TempDir, Arc<RawFile>) {
    // Beside the sources rather than in /tmp, which may be a tmpfs without direct I/O.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
    let file = Arc::new(fs::open(&dir.path().join("f"), OpenFlags::CREATE).unwrap());
    (dir, file)
}

#[test]
fn a_file_is_written_synced_and_read_on_the_ring() {
    run_masked(|| async {
        let (_dir, file) = scratch();
        let (result, _) = write_at(&file, Bytes::from_static(b"hello "), 0).await;
        assert_eq!(result.unwrap(), 6);
        let parts = vec![Bytes::from_static(b"wor"), Bytes::new(), Bytes::from_static(b"ld")];
        let (result, parts) = writev_at(&file, parts, 6).await;
        assert_eq!((result.unwrap(), parts.len()), (5, 3));
        fdatasync(&file).await.unwrap();
        fsync(&file).await.unwrap();
        let (result, buffer) = read_at(&file, AlignedBuf::with_capacity(4096), 0).await;
        assert_eq!(result.unwrap(), 11);
        assert_eq!(&buffer[..], b"hello world");
        let (result, buffer) = read_at(&file, buffer, 100).await;
        assert_eq!((result.unwrap(), buffer.len()), (0, 0));
    });
}

#[test]
fn direct_files_take_aligned_buffers() {
    run_masked(|| async {
        let (dir, file) = scratch();
        if fs::direct_alignment(&file).unwrap().is_none() {
            println!("no direct I/O here");
            return;
        }
        let direct = Arc::new(fs::open(&dir.path().join("f"), OpenFlags::CREATE.direct(true)).unwrap());
        let mut writes = Vec::new();
        for n in 0..32u8 {
            let mut buffer = AlignedBuf::with_capacity(8192);
            buffer.put(&[n; 8192]);
            writes.push(spawn(write_at(&direct, buffer.freeze(), u64::from(n) * 8192)));
        }
        for write in writes {
            assert_eq!(write.await.0.unwrap(), 8192);
        }
        fdatasync(&direct).await.unwrap();
        for n in 0..32u8 {
            let (result, buffer) = read_at(&direct, AlignedBuf::with_capacity(8192), u64::from(n) * 8192).await;
            assert_eq!(result.unwrap(), 8192);
            assert!(buffer.iter().all(|byte| *byte == n));
        }
    });
}

#[test]
fn errors_come_back_with_the_buffer() {
    run_masked(|| async {
        let (dir, _file) = scratch();
        let read_only = Arc::new(fs::open(&dir.path().join("f"), OpenFlags::READ).unwrap());
        let (result, buffer) = write_at(&read_only, vec![1u8; 10], 0).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(buffer.len(), 10);
    });
}

#[test]
fn a_dropped_operation_keeps_its_buffer_until_the_kernel_is_done() {
    run_masked(|| async {
        let (_dir, file) = scratch();
        let before = stats().in_flight;
        for n in 0..200u64 {
            let buffer = Bytes::from(vec![n as u8; 4096]);
            drop(write_at(&file, buffer, n * 4096));
            if n % 7 == 0 {
                drop(fdatasync(&file));
                yield_now().await;
            }
        }
        while stats().in_flight > before {
            // Whatever was cancelled or not, each ends with a completion.
            fdatasync(&file).await.unwrap();
        }
    });
}

#[test]
fn more_operations_than_the_queues_hold() {
    for mask in masks() {
        let options = RuntimeOptions { submission_entries: 8, completion_entries: 8, disable: mask, ..options() };
        Runtime::new(&options).unwrap().block_on(async {
            let (_dir, file) = scratch();
            let writes: Vec<_> = (0..500u64).map(|n| write_at(&file, vec![n as u8; 100], n * 100)).collect();
            for write in writes {
                assert_eq!(write.await.0.unwrap(), 100);
            }
        });
    }
}
