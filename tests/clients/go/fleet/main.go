// One member of a group, of franz-go: BOOTSTRAP GROUP TOPIC PROTOCOL (classic: cooperative-sticky, or consumer). The
// lines it prints are those that tests/clients/fleet/fleet.py describes.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	mutex sync.Mutex
	owned = map[int32]bool{}
	told  string
)

func say(what string) {
	fmt.Printf("%d %s\n", time.Now().UnixMilli(), what)
}

// Says what this member has, if that or its generation is new. The caller holds the mutex.
func tell(client *kgo.Client) {
	member, generation := client.GroupMetadata()
	if member == "" {
		member = "-"
	}
	var numbers []int
	for partition := range owned {
		numbers = append(numbers, int(partition))
	}
	slices.Sort(numbers)
	partitions := strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
	if partitions == "" {
		partitions = "-"
	}
	line := fmt.Sprintf("own %d %s %s", generation, member, partitions)
	if line != told {
		told = line
		say(line)
	}
}

func change(client *kgo.Client, partitions map[string][]int32, have bool) {
	mutex.Lock()
	defer mutex.Unlock()
	for _, of := range partitions {
		for _, partition := range of {
			if have {
				owned[partition] = true
			} else {
				delete(owned, partition)
			}
		}
	}
	tell(client)
}

func main() {
	bootstrap, group, topic, protocol := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ClientID(group),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.FetchMaxWait(250 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, p map[string][]int32) { change(c, p, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, c *kgo.Client, p map[string][]int32) { change(c, p, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, c *kgo.Client, p map[string][]int32) { change(c, p, false) }),
	}
	if protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	say("ready")
	client, err := kgo.NewClient(options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for ctx.Err() == nil {
		polling, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := client.PollFetches(polling)
		cancel()
		mutex.Lock()
		tell(client)
		mutex.Unlock()
		var read []*kgo.Record
		fetches.EachPartition(func(of kgo.FetchTopicPartition) {
			if len(of.Records) == 0 {
				return
			}
			first, last := of.Records[0].Offset, of.Records[0].Offset
			// A range for each run without a gap, so that a skipped record shows.
			for _, record := range of.Records[1:] {
				if record.Offset != last+1 {
					say(fmt.Sprintf("got %d %d %d", of.Partition, first, last))
					first = record.Offset
				}
				last = record.Offset
			}
			say(fmt.Sprintf("got %d %d %d", of.Partition, first, last))
			read = append(read, of.Records...)
		})
		if len(read) > 0 {
			committing, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			if err := client.CommitRecords(committing, read...); err != nil {
				say("refused " + strings.ReplaceAll(err.Error(), "\n", " "))
			} else {
				ends := map[int32]int64{}
				for _, record := range read {
					ends[record.Partition] = record.Offset + 1
				}
				var parts []string
				for partition, offset := range ends {
					parts = append(parts, fmt.Sprintf("%d:%d", partition, offset))
				}
				say("committed " + strings.Join(parts, ","))
			}
			cancel()
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	say("end")
}
