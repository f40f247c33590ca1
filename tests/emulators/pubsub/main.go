// A Pub/Sub server for tests: Google's own fake, on a port, with the topics and subscriptions it is told of.
//
//	pubsub HOST:PORT projects/P/topics/T=projects/P/subscriptions/S ...
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cloud.google.com/go/pubsub/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/pstest"
)

func main() {
	if err := serve(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(address string, pairs []string) error {
	server, err := listen(address)
	if err != nil {
		return err
	}
	defer server.Close()
	for _, pair := range pairs {
		topic, subscription, _ := strings.Cut(pair, "=")
		if err := create(server, topic, subscription); err != nil {
			return err
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return nil
}

func create(server *pstest.Server, topic, subscription string) error {
	ctx := context.Background()
	if _, err := server.GServer.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	wanted := &pubsubpb.Subscription{Name: subscription, Topic: topic, AckDeadlineSeconds: 10}
	if _, err := server.GServer.CreateSubscription(ctx, wanted); err != nil {
		return fmt.Errorf("subscription %s: %w", subscription, err)
	}
	return nil
}

func listen(address string) (*pstest.Server, error) {
	_, port, found := strings.Cut(address, ":")
	if !found {
		return nil, fmt.Errorf("%q is not HOST:PORT", address)
	}
	var number int
	if _, err := fmt.Sscanf(port, "%d", &number); err != nil {
		return nil, fmt.Errorf("%q is no port", port)
	}
	return pstest.NewServerWithPort(number), nil
}
