// One member of a group, of sarama: BOOTSTRAP GROUP TOPIC PROTOCOL (classic alone). The lines it prints are those that
// tests/clients/fleet/fleet.py describes; sarama does not tell which commits were acknowledged.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

func say(what string) {
	fmt.Printf("%d %s\n", time.Now().UnixMilli(), what)
}

type member struct{ topic string }

func (m member) Setup(session sarama.ConsumerGroupSession) error {
	partitions := slices.Sorted(slices.Values(session.Claims()[m.topic]))
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(partitions), " ", ","), "[]")
	if list == "" {
		list = "-"
	}
	say(fmt.Sprintf("own %d %s %s", session.GenerationID(), session.MemberID(), list))
	return nil
}

func (m member) Cleanup(session sarama.ConsumerGroupSession) error {
	say(fmt.Sprintf("own %d %s -", session.GenerationID(), session.MemberID()))
	return nil
}

func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		say(fmt.Sprintf("got %d %d %d", message.Partition, message.Offset, message.Offset))
		session.MarkMessage(message, "")
		session.Commit()
	}
	return nil
}

func main() {
	bootstrap, group, topic := os.Args[1], os.Args[2], os.Args[3]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config := sarama.NewConfig()
	config.ClientID = group
	config.Version = sarama.V4_0_0_0
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = time.Second
	config.Consumer.MaxWaitTime = 250 * time.Millisecond
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
	say("ready")
	client, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for ctx.Err() == nil {
		if err := client.Consume(ctx, []string{topic}, member{topic}); err != nil {
			say("refused " + strings.ReplaceAll(err.Error(), "\n", " "))
			time.Sleep(200 * time.Millisecond)
		}
	}
	if err := client.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	say("end")
}
