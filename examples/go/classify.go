// The best class of an image.
package main

// #cgo pkg-config: net
// #include <stdlib.h>
// #include "net.h"
import "C"

import (
	"errors"
	"fmt"
	"log"
	"os"
	"unsafe"
)

func check(status C.net_status) error {
	if status == C.NET_OK {
		return nil
	}
	return errors.New(C.GoString(C.net_text(status)))
}

// run keeps in C's memory what C is handed pointers to: Go may move its own.
func run(image []byte) ([]float32, error) {
	input, output := C.net_input(0), C.net_output(0)
	if len(image) != int(input.bytes) {
		return nil, fmt.Errorf("an image has %d bytes", input.bytes)
	}
	x, y := C.CBytes(image), C.malloc(output.bytes)
	defer C.free(x)
	defer C.free(y)

	options := C.net_options{threads: 2}
	var context *C.net_context
	if err := check(C.net_create(&options, &context)); err != nil {
		return nil, err
	}
	defer C.net_destroy(context)
	pointers := (*[2]unsafe.Pointer)(C.malloc(C.size_t(2 * unsafe.Sizeof(x))))
	defer C.free(unsafe.Pointer(pointers))
	pointers[0], pointers[1] = x, y
	if err := check(C.net_run(context, &pointers[0], &pointers[1])); err != nil {
		return nil, err
	}
	scores := unsafe.Slice((*float32)(y), output.bytes/4)
	return append([]float32(nil), scores...), nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: classify IMAGE")
	}
	image, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	scores, err := run(image)
	if err != nil {
		log.Fatal(err)
	}
	best := 0
	for i, score := range scores {
		if score > scores[best] {
			best = i
		}
	}
	fmt.Println(best, scores[best])
}
