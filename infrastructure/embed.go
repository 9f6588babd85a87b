// Package infrastructure holds the files of deployment that the binary itself reads, so that what an operator edits and what the program runs are the same text.
package infrastructure

import _ "embed"

// Kong is kong/kong.yml: the gateway's route table.
//
//go:embed kong/kong.yml
var Kong []byte
