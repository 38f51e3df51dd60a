package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/skshohagmiah/clusterkit/client"
)

func ExampleClient_Do() {
	server := exampleCluster()
	defer server.Close()
	c, err := client.New([]string{strings.TrimPrefix(server.URL, "http://")}, client.WithService("kv"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Do(context.Background(), client.Request{Key: "user:123", Write: true}, func(_ context.Context, t client.Target) error {
		fmt.Println("write to", t.Node, "at", t.Addr, "under epoch", t.Epoch)
		return nil
	})
	fmt.Println(err)
	// Output:
	// write to a at kv-a under epoch 2
	// <nil>
}

func ExampleQuorum() {
	nodes := []*client.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	err := client.Quorum(context.Background(), nodes, 2, func(_ context.Context, n *client.Node) error {
		if n.ID == "b" {
			return fmt.Errorf("unreachable")
		}
		return nil
	})
	fmt.Println(err)
	// Output: <nil>
}

func exampleCluster() *httptest.Server {
	return fake(1, "a").Server
}
