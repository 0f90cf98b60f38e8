// Benthos, the engine of Redpanda Connect, as a contender: it takes ready bodies from a topic and posts them.
//
// Its one argument is a job (JSON), its last line a report (JSON), as of every contender of the bench.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

type job struct {
	Bootstrap   string `json:"bootstrap"`
	Application string `json:"application"`
	Topic       string `json:"topic"`
	URL         string `json:"url"`
	AtOnce      int    `json:"at_once"`
	Bodies      int    `json:"bodies"`
	Records     int    `json:"records"`
}

// meter is told of the first fetch; its clock ends with the last commit.
type meter struct {
	cpu   float64
	first time.Time
}

func spent() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

// delivery is a body on its way: offsets are committed up to the first one that is not through.
type delivery struct {
	record *kgo.Record
	done   bool
}

// bodies is an input as Redpanda Connect's own for Kafka: a member of a group, at least once.
type bodies struct {
	job     job
	meter   *meter
	client  *kgo.Client
	waiting []*kgo.Record

	lock    sync.Mutex
	open    map[int32][]*delivery
	through int
	end     chan struct{}
}

func (in *bodies) Connect(context.Context) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(in.job.Bootstrap),
		kgo.ConsumerGroup(in.job.Application),
		kgo.ConsumeTopics(in.job.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
	)
	in.client = client
	return err
}

func (in *bodies) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	for len(in.waiting) == 0 {
		started := time.Now()
		fetches := in.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, nil, err
		}
		in.waiting = fetches.Records()
		if in.meter.first.IsZero() && len(in.waiting) > 0 {
			in.meter.first = started
		}
	}
	one := &delivery{record: in.waiting[0]}
	in.waiting = in.waiting[1:]
	in.lock.Lock()
	in.open[one.record.Partition] = append(in.open[one.record.Partition], one)
	in.lock.Unlock()
	message := service.NewMessage(one.record.Value)
	message.MetaSetMut("key", string(one.record.Key))
	return message, func(_ context.Context, err error) error {
		if err == nil {
			in.delivered(one)
		}
		return nil
	}, nil
}

func (in *bodies) delivered(one *delivery) {
	in.lock.Lock()
	defer in.lock.Unlock()
	one.done = true
	open := in.open[one.record.Partition]
	for len(open) > 0 && open[0].done {
		in.client.MarkCommitRecords(open[0].record)
		open = open[1:]
	}
	in.open[one.record.Partition] = open
	in.through++
	if in.through == in.job.Bodies {
		close(in.end)
	}
}

func (in *bodies) Close(context.Context) error {
	in.client.Close()
	return nil
}

func run() error {
	var given job
	if err := json.Unmarshal([]byte(os.Args[1]), &given); err != nil {
		return err
	}
	measured := &meter{cpu: spent()}
	input := &bodies{job: given, meter: measured, open: map[int32][]*delivery{}, end: make(chan struct{})}
	environment := service.NewEnvironment()
	err := environment.RegisterInput("bodies", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Input, error) {
			return service.AutoRetryNacks(input), nil
		})
	if err != nil {
		return err
	}
	builder := environment.NewStreamBuilder()
	if err := builder.SetLoggerYAML("level: ERROR"); err != nil {
		return err
	}
	if err := builder.AddInputYAML("bodies: {}"); err != nil {
		return err
	}
	output := fmt.Sprintf(`
http_client:
  url: %q
  verb: POST
  max_in_flight: %d
  headers:
    Content-Type: application/json
    Idempotency-Key: ${! @key }
`, given.URL, given.AtOnce)
	if err := builder.AddOutputYAML(output); err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- stream.Run(context.Background()) }()
	select {
	case err := <-failed:
		return fmt.Errorf("the stream ended early: %w", err)
	case <-input.end:
	}
	if err := input.client.CommitMarkedOffsets(context.Background()); err != nil {
		return err
	}
	report := map[string]any{
		"records": given.Records,
		"seconds": time.Since(measured.first).Seconds(),
		"cpu":     spent() - measured.cpu,
		"threads": map[string]float64{},
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
