module github.com/skshohagmiah/clusterkit/bench

go 1.26.0

require github.com/skshohagmiah/clusterkit v0.0.0

require (
	github.com/buraksezer/consistent v1.0.0 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
)

replace github.com/skshohagmiah/clusterkit => ../
