// franz-go and sarama against the broker: produce with each codec, read by assigned partitions, administration.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

var failures int

func check(what string, action func() error) {
	if err := action(); err != nil {
		failures++
		fmt.Printf("FAIL %s: %s\n", what, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("PASS %s\n", what)
}

func value(i int) string {
	return fmt.Sprintf("%d %s", i, strings.Repeat("lorem ipsum ", i%17))
}

const records = 1000

func main() {
	bootstrap := os.Args[1]
	withFranz(bootstrap)
	withSarama(bootstrap)
	if failures > 0 {
		os.Exit(1)
	}
}

func withFranz(bootstrap string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		check("franz-go: a client", func() error { return err })
		return
	}
	defer client.Close()
	admin := kadm.NewClient(client)

	check("franz-go: topics are created, grown, described, deleted", func() error {
		limit := "1234567"
		if _, err := admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &limit}, "f-admin"); err != nil {
			return err
		}
		if _, err := admin.UpdatePartitions(ctx, 5, "f-admin"); err != nil {
			return err
		}
		configs, err := admin.DescribeTopicConfigs(ctx, "f-admin")
		if err != nil {
			return err
		}
		found := false
		for _, config := range configs[0].Configs {
			found = found || config.Key == "retention.ms" && config.MaybeValue() == limit
		}
		if !found {
			return fmt.Errorf("no retention.ms=%s in %v", limit, configs)
		}
		for try := 0; ; try++ {
			topics, err := admin.ListTopics(ctx, "f-admin")
			if err != nil {
				return err
			}
			if len(topics["f-admin"].Partitions) == 5 {
				break
			}
			if try > 100 {
				return fmt.Errorf("%d partitions", len(topics["f-admin"].Partitions))
			}
			time.Sleep(50 * time.Millisecond)
		}
		_, err = admin.DeleteTopic(ctx, "f-admin")
		return err
	})

	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		check("franz-go: "+name+", idempotent: what was sent is read", func() error {
			topic := "f-" + name
			if _, err := admin.CreateTopic(ctx, 3, 1, nil, topic); err != nil {
				return err
			}
			producer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codecs[name]),
				kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				return err
			}
			defer producer.Close()
			var sent []*kgo.Record
			for i := range records {
				sent = append(sent, &kgo.Record{
					Topic: topic, Partition: int32(i % 3), Key: []byte{byte(i)}, Value: []byte(value(i)),
					Headers: []kgo.RecordHeader{{Key: "n", Value: []byte("1")}},
				})
			}
			if err := producer.ProduceSync(ctx, sent...).FirstErr(); err != nil {
				return err
			}
			consumer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumePartitions(
				map[string]map[int32]kgo.Offset{topic: {
					0: kgo.NewOffset().AtStart(), 1: kgo.NewOffset().AtStart(), 2: kgo.NewOffset().AtStart(),
				}}))
			if err != nil {
				return err
			}
			defer consumer.Close()
			next := map[int32]int64{}
			for read := 0; read < records; {
				fetches := consumer.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					return err
				}
				var wrong error
				fetches.EachRecord(func(record *kgo.Record) {
					i := int(record.Offset)*3 + int(record.Partition)
					if record.Offset != next[record.Partition] || string(record.Value) != value(i) {
						wrong = fmt.Errorf("partition %d offset %d: %q", record.Partition, record.Offset, record.Value)
					}
					next[record.Partition]++
					read++
				})
				if wrong != nil {
					return wrong
				}
			}
			return nil
		})
	}

	check("franz-go: offsets listed and committed", func() error {
		ends, err := admin.ListEndOffsets(ctx, "f-none")
		if err != nil {
			return err
		}
		if end, ok := ends.Lookup("f-none", 0); !ok || end.Err != nil || end.Offset != (records+2)/3 {
			return fmt.Errorf("end of partition 0: %v", end)
		}
		after, err := admin.ListOffsetsAfterMilli(ctx, 1, "f-none")
		if err != nil {
			return err
		}
		if first, ok := after.Lookup("f-none", 0); !ok || first.Offset != 0 {
			return fmt.Errorf("first after 1970: %v", first)
		}
		// kadm commits by name, which OffsetCommit can say up to version 9.
		older, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MaxVersions(kversion.V3_9_0()))
		if err != nil {
			return err
		}
		defer older.Close()
		admin := kadm.NewClient(older)
		var offsets kadm.Offsets
		offsets.AddOffset("f-none", 1, 55, -1)
		for try := 0; ; try++ {
			err = admin.CommitAllOffsets(ctx, "f-group", offsets)
			if err == nil || try > 20 {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			return err
		}
		fetched, err := admin.FetchOffsets(ctx, "f-group")
		if err != nil {
			return err
		}
		if offset, ok := fetched.Lookup("f-none", 1); !ok || offset.At != 55 {
			return fmt.Errorf("committed: %v", fetched)
		}
		return nil
	})
}

func withSarama(bootstrap string) {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, config)
	if err != nil {
		check("sarama: an admin client", func() error { return err })
		return
	}
	defer admin.Close()
	for _, codec := range []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4,
		sarama.CompressionZSTD,
	} {
		check("sarama: "+codec.String()+": what was sent is read", func() error {
			topic := "s-" + codec.String()
			if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
				return err
			}
			own := *config
			own.Producer.Compression = codec
			// A topic just made may need a second look at Apache Kafka.
			own.Producer.Retry.Max = 20
			producer, err := sarama.NewSyncProducer([]string{bootstrap}, &own)
			if err != nil {
				return err
			}
			defer producer.Close()
			var messages []*sarama.ProducerMessage
			for i := range records {
				messages = append(messages, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value(i))})
			}
			if err := producer.SendMessages(messages); err != nil {
				return err
			}
			consumer, err := sarama.NewConsumer([]string{bootstrap}, config)
			if err != nil {
				return err
			}
			defer consumer.Close()
			partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
			if err != nil {
				return err
			}
			defer partition.Close()
			for i := range records {
				select {
				case message := <-partition.Messages():
					if message.Offset != int64(i) || string(message.Value) != value(i) {
						return fmt.Errorf("offset %d: %q", message.Offset, message.Value)
					}
				case <-time.After(30 * time.Second):
					return fmt.Errorf("nothing behind offset %d", i)
				}
			}
			return nil
		})
	}
}
