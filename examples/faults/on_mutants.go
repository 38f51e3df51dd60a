package main

var mutants = []scenario{}
