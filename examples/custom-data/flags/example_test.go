package flags_test

import (
	"fmt"

	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
)

func ExampleFlag_For() {
	f := flags.Flag{Enabled: true, Percent: 25, Users: []string{"ada"}}
	fmt.Println(f.For("new-checkout", "ada"))
	fmt.Println(f.For("new-checkout", "bob"))
	// Output:
	// true the user is listed
	// true the user is in bucket 1 of 100, and 25% are on
}
