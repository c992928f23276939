// go_program: main.goLeaf <- main.goCaller <- main.main <- runtime.main <- runtime.goexit, and the
// same on a goroutine: main.goLeaf <- main.goCaller <- main.goWorker <- runtime.goexit.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

var stopped atomic.Bool

//go:noinline
func goStep(table *[64]uint64, i uint64) uint64 {
	return table[i%64] * 31
}

// goLeaf has locals, so that it keeps a frame and rbp, as all but the smallest Go functions do.
//
//go:noinline
func goLeaf(turns uint64) uint64 {
	var table [64]uint64
	x := uint64(3)
	for i := uint64(0); i < turns; i++ {
		table[x%64] = x
		x = x*x + table[i%64]
	}
	return x + goStep(&table, x)
}

//go:noinline
func goCaller(seed uint64) uint64 {
	sum := seed
	for i := 0; i < 10; i++ {
		sum += goLeaf(50000)
	}
	return sum
}

//go:noinline
func goWorker(result *uint64) {
	for !stopped.Load() {
		*result += goCaller(*result)
	}
}

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		stopped.Store(true)
	}()
	var result uint64
	go goWorker(&result)
	fmt.Println("ready")
	sum := uint64(0)
	for !stopped.Load() {
		sum += goCaller(sum)
	}
	os.Exit(int(sum & 0))
}
