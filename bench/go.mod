module github.com/skshohagmiah/clusterkit/bench

go 1.26.0

require github.com/skshohagmiah/clusterkit v0.0.0

replace github.com/skshohagmiah/clusterkit => ../
