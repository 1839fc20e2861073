// Command log-check verifies an exported log and its receipts with golang.org/x/mod/sumdb/note and
// golang.org/x/mod/sumdb/tlog, which nobody here wrote. It exits 0 if all is well, and 1 with a reason if not.
//
//	log-check log VKEY DIR            every record of an exported log, through its tiles
//	log-check grown VKEY OLD DIR      that the log in DIR contains the log whose checkpoint is the file OLD
//	log-check receipts VKEY FILE...   receipts, each a C2SP tlog-proof that carries its record
//
// What is here is the C2SP spelling around those packages: they were made for the Go checksum database, whose first
// line, tile paths and record format are its own.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "log-check:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: log-check log|grown|receipts VKEY ...")
	}
	verifier, err := note.NewVerifier(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "log":
		return checkLog(verifier, args[2])
	case "grown":
		return checkGrown(verifier, args[2], args[3])
	case "receipts":
		for _, file := range args[2:] {
			if err := checkReceipt(verifier, file); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		fmt.Println("receipts", len(args)-2)
		return nil
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// openCheckpoint verifies the signature and reads the three lines of c2sp.org/tlog-checkpoint.
func openCheckpoint(verifier note.Verifier, text []byte) (tlog.Tree, error) {
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func readCheckpoint(verifier note.Verifier, file string) (tlog.Tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	return openCheckpoint(verifier, text)
}

// directory is a tlog.TileReader of exported files.
type directory string

func (directory) Height() int                     { return height }
func (directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		// tlog's paths name the height too.
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(d), path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// entries reads the bundle with the record at index first, as wide as it is in a tree of this size.
func (d directory) entries(first, size int64) ([][]byte, error) {
	tile := tlog.TileForIndex(height, tlog.StoredHashIndex(0, first))
	tile.L, tile.W = 0, 1<<height
	if size-first < 1<<height {
		tile.W = int(size - first)
	}
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(string(d), path))
	if err != nil {
		return nil, err
	}
	var records [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut short", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		records = append(records, data[2:end])
		data = data[end:]
	}
	if len(records) != tile.W {
		return nil, fmt.Errorf("%s has %d records, not %d", path, len(records), tile.W)
	}
	return records, nil
}

func checkLog(verifier note.Verifier, dir string) error {
	tree, err := readCheckpoint(verifier, filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	files := directory(dir)
	hashes := tlog.TileHashReader(tree, files)
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the tiles are of another tree")
	}
	for first := int64(0); first < tree.N; first += 1 << height {
		records, err := files.entries(first, tree.N)
		if err != nil {
			return err
		}
		for i, record := range records {
			n := first + int64(i)
			proof, err := tlog.ProveRecord(tree.N, n, hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, tlog.RecordHash(record)); err != nil {
				return fmt.Errorf("record %d: %w", n, err)
			}
		}
	}
	fmt.Println("records", tree.N)
	return nil
}

func checkGrown(verifier note.Verifier, old, dir string) error {
	before, err := readCheckpoint(verifier, old)
	if err != nil {
		return err
	}
	now, err := readCheckpoint(verifier, filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	proof, err := tlog.ProveTree(now.N, before.N, tlog.TileHashReader(now, directory(dir)))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, now.N, now.Hash, before.N, before.Hash); err != nil {
		return err
	}
	fmt.Println("grown", before.N, now.N)
	return nil
}

// checkReceipt reads a c2sp.org/tlog-proof@v1 whose extra data is the record.
func checkReceipt(verifier note.Verifier, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	end := bytes.Index(text, []byte("\n\n"))
	if end < 0 {
		return errors.New("no checkpoint")
	}
	tree, err := openCheckpoint(verifier, text[end+2:])
	if err != nil {
		return err
	}
	lines := strings.Split(string(text[:end]), "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return errors.New("not a receipt")
	}
	record, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(record))
}
