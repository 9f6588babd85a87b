// Command tulifo is the whole platform in one binary: see tulifo help.
package main

import (
	"os"
	_ "time/tzdata" // zones are data of the product, not of the machine

	"tulifo/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr)) }
