// Many groups with few members, to see what they cost a broker: each member is one connection and one goroutine that joins,
// takes what it is assigned and heartbeats, by raw requests. Every other group is of the newer protocol
// (KIP-848), or none with CORELANE_MANY=classic.
//
//	many BOOTSTRAP GROUPS MEMBERS
//
// A line on the standard input asks for the time until every member of every group is stable again (assigned, and its last
// heartbeat answered without an error since the line came); it is printed in seconds.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	topic     = "many"
	heartbeat = 3 * time.Second // the default of Kafka's clients
	session   = 45 * time.Second
)

type member struct {
	group    string
	newer    bool
	id       string
	epoch    int32                                     // or generation
	owned    []kmsg.ConsumerGroupHeartbeatRequestTopic // of the newer protocol
	says     bool                                      // what it owns, with its next heartbeat: the broker may not know
	stableAt atomic.Int64
	conn     net.Conn
	reader   *bufio.Reader
	next     int32
}

var (
	bootstrap string
	formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("many"))
)

func (m *member) call(request kmsg.Request) (kmsg.Response, error) {
	m.next++
	frame := formatter.AppendRequest(nil, request, m.next)
	if err := m.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, err
	}
	if _, err := m.conn.Write(frame); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(m.reader, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(m.reader, body); err != nil {
		return nil, err
	}
	skip := 4
	if request.IsFlexible() {
		skip = 5 // no tagged fields
	}
	response := request.ResponseKind()
	response.SetVersion(request.GetVersion())
	return response, response.ReadFrom(body[skip:])
}

// Until the connection fails.
func (m *member) live() error {
	var err error
	if m.conn, err = net.DialTimeout("tcp", bootstrap, 10*time.Second); err != nil {
		return err
	}
	defer m.conn.Close()
	m.reader = bufio.NewReaderSize(m.conn, 512)
	m.says = true
	for {
		pause := heartbeat
		if m.newer {
			pause, err = m.heartbeatNewer()
		} else {
			pause, err = m.heartbeatClassic()
		}
		if err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

func (m *member) stable() {
	m.stableAt.Store(time.Now().UnixNano())
}

// How long to wait after an error code of the coordinator; what is known of the membership is dropped if it says so.
func (m *member) after(code int16) time.Duration {
	switch kerr.ErrorForCode(code) {
	case kerr.UnknownMemberID:
		m.id, m.epoch = "", 0
		return 0
	case kerr.FencedMemberEpoch:
		m.epoch = 0
		return 0
	case kerr.IllegalGeneration, kerr.RebalanceInProgress:
		m.epoch = 0
		return 0
	default: // it is loading
		return 100 * time.Millisecond
	}
}

// Sends what it owns when that is new to the broker, as clients do, and goes on at once until it has confirmed what it was
// given: with that answer it gets its new epoch, without which its next heartbeat would be fenced.
func (m *member) heartbeatNewer() (time.Duration, error) {
	if m.id == "" {
		m.id = strconv.FormatInt(time.Now().UnixNano(), 36) + m.group
	}
	if m.epoch == 0 {
		m.owned = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	for {
		request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		request.Version = 1
		request.Group, request.MemberID, request.MemberEpoch = m.group, m.id, m.epoch
		if m.epoch == 0 {
			request.SubscribedTopicNames = []string{topic}
			request.RebalanceTimeoutMillis = 60_000
		}
		if m.says || m.epoch == 0 {
			request.Topics = m.owned
		}
		answer, err := m.call(request)
		if err != nil {
			return 0, err
		}
		response := answer.(*kmsg.ConsumerGroupHeartbeatResponse)
		if response.ErrorCode != 0 {
			return m.after(response.ErrorCode), nil
		}
		m.epoch, m.says = response.MemberEpoch, response.Assignment != nil
		if response.Assignment == nil {
			// One of two members may have everything until the other one comes, and then nothing until it is given up.
			if len(m.owned) > 0 {
				m.stable()
			}
			return time.Duration(response.HeartbeatIntervalMillis) * time.Millisecond, nil
		}
		m.owned = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		for _, of := range response.Assignment.Topics {
			one := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			one.TopicID, one.Partitions = of.TopicID, of.Partitions
			m.owned = append(m.owned, one)
		}
	}
}

func (m *member) heartbeatClassic() (time.Duration, error) {
	if m.epoch == 0 {
		return m.join()
	}
	request := kmsg.NewPtrHeartbeatRequest()
	request.Version = 4
	request.Group, request.MemberID, request.Generation = m.group, m.id, m.epoch
	answer, err := m.call(request)
	if err != nil {
		return 0, err
	}
	if code := answer.(*kmsg.HeartbeatResponse).ErrorCode; code != 0 {
		return m.after(code), nil
	}
	m.stable()
	return heartbeat, nil
}

func (m *member) join() (time.Duration, error) {
	request := kmsg.NewPtrJoinGroupRequest()
	request.Version = 9
	request.Group, request.MemberID, request.ProtocolType = m.group, m.id, "consumer"
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = int32(session.Milliseconds()), 60_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "range"
	metadata := kmsg.NewConsumerMemberMetadata()
	metadata.Topics = []string{topic}
	protocol.Metadata = metadata.AppendTo(nil)
	request.Protocols = append(request.Protocols, protocol)
	answer, err := m.call(request)
	if err != nil {
		return 0, err
	}
	joined := answer.(*kmsg.JoinGroupResponse)
	if kerr.ErrorForCode(joined.ErrorCode) == kerr.MemberIDRequired {
		m.id = joined.MemberID
		return 0, nil
	}
	if joined.ErrorCode != 0 {
		return m.after(joined.ErrorCode), nil
	}
	m.id = joined.MemberID
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version = 5
	sync.Group, sync.MemberID, sync.Generation = m.group, m.id, joined.Generation
	sync.ProtocolType, sync.Protocol = kmsg.StringPtr("consumer"), joined.Protocol
	for i, of := range joined.Members {
		share := kmsg.NewConsumerMemberAssignment()
		places := kmsg.NewConsumerMemberAssignmentTopic()
		places.Topic, places.Partitions = topic, []int32{int32(i)}
		share.Topics = append(share.Topics, places)
		one := kmsg.NewSyncGroupRequestGroupAssignment()
		one.MemberID, one.MemberAssignment = of.MemberID, share.AppendTo(nil)
		sync.GroupAssignment = append(sync.GroupAssignment, one)
	}
	answer, err = m.call(sync)
	if err != nil {
		return 0, err
	}
	if code := answer.(*kmsg.SyncGroupResponse).ErrorCode; code != 0 {
		return m.after(code), nil
	}
	m.epoch = joined.Generation
	m.stable()
	return heartbeat, nil
}

func main() {
	bootstrap = os.Args[1]
	groups, _ := strconv.Atoi(os.Args[2])
	each, _ := strconv.Atoi(os.Args[3])
	newer := os.Getenv("CORELANE_MANY") != "classic"
	var members []*member
	for group := range groups {
		for range each {
			m := &member{group: fmt.Sprintf("many-%d", group), newer: newer && group%2 == 1}
			members = append(members, m)
		}
	}
	began := time.Now()
	for i, m := range members {
		go func() {
			// Not all at once: a fleet of consumers is rolled out over some seconds.
			time.Sleep(time.Duration(i) * 5 * time.Second / time.Duration(len(members)))
			for {
				if err := m.live(); err != nil {
					time.Sleep(100 * time.Millisecond)
				}
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for since := began; ; since = time.Now() {
		for {
			behind, oldest := 0, ""
			for _, m := range members {
				if m.stableAt.Load() < since.UnixNano() {
					behind++
					oldest = m.group
				}
			}
			if behind == 0 {
				break
			}
			if time.Since(since) > 5*time.Minute {
				fmt.Printf("never: %d members are not stable, one of %s\n", behind, oldest)
				os.Exit(1)
			}
			time.Sleep(20 * time.Millisecond)
		}
		fmt.Printf("%.1f\n", time.Since(since).Seconds())
		if !lines.Scan() {
			return
		}
	}
}
