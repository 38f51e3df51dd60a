package register

import (
	"encoding/binary"
	"errors"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// Kinds of requests. All name a partition and the number of a Config.
const (
	kindGet    byte = iota + 1 // the record of a key
	kindPut                    // a record to keep, if it is newer
	kindDigest                 // a page of keys and versions
	kindFetch                  // the records of some keys
	kindSynced                 // whether the member has synced in this Config
	kindConfig                 // the newest Config: any number will do
)

// clientKinds are those that a Coordinator outside the cluster sends; members
// ask the others of each other, for copies of everything.
var clientKinds = []byte{kindGet, kindPut, kindConfig}

// Kinds of answers.
const (
	answerOK       byte = iota + 1
	answerAbsent        // there is no such record, or the member has not synced
	answerStale         // the number is not the newest: the body is the Config that is
	answerNotReady      // not yet, or not any more, a member that may answer
	answerBusy          // too much under way: nothing was done
	answerFailed        // for the reason in the body
)

var errMalformed = errors.New("register: a malformed message")

// request is a decoded request.
type request struct {
	kind      byte
	partition int
	number    uint64
	key       string       // get; digest: the keys above it
	record    store.Record // put
	keys      []string     // fetch
}

// head begins a request.
func head(partition int, number uint64, room int) []byte {
	b := make([]byte, 0, room+2*binary.MaxVarintLen64)
	b = binary.AppendUvarint(b, uint64(partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	return binary.AppendUvarint(b, number)
}

func encodeGet(partition int, number uint64, key string) []byte {
	return append(head(partition, number, len(key)), key...)
}

func encodePut(number uint64, r *store.Record) []byte {
	return store.AppendRecord(head(r.Partition, number, len(r.Key)+len(r.Value)+48), r)
}

func encodeFetch(partition int, number uint64, keys []string) []byte {
	b := head(partition, number, 64*len(keys))
	for _, key := range keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return b
}

// decodeRequest reads any request. The record's value is a part of b.
func decodeRequest(kind byte, b []byte) (r request, err error) {
	r.kind = kind
	partition, n := binary.Uvarint(b)
	if n <= 0 || partition >= 1<<31 {
		return r, errMalformed
	}
	b = b[n:]
	r.partition = int(partition)
	if r.number, n = binary.Uvarint(b); n <= 0 {
		return r, errMalformed
	}
	b = b[n:]
	switch kind {
	case kindGet, kindDigest:
		r.key = string(b)
	case kindPut:
		r.record, b, err = store.DecodeRecord(b)
		if err == nil && (len(b) > 0 || r.record.Partition != r.partition) {
			err = errMalformed
		}
	case kindFetch:
		r.keys, err = decodeKeys(b)
	case kindSynced, kindConfig:
	default:
		err = errMalformed
	}
	return r, err
}

func decodeKeys(b []byte) (keys []string, err error) {
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) { //#nosec G115 -- n is at most len(b)
			return nil, errMalformed
		}
		b = b[n:]
		keys = append(keys, string(b[:size]))
		b = b[size:]
	}
	return keys, nil
}

func encodeRecords(records []store.Record) []byte {
	var b []byte
	for i := range records {
		b = store.AppendRecord(b, &records[i])
	}
	return b
}

func decodeRecords(partition int, b []byte) (records []store.Record, err error) {
	for len(b) > 0 {
		var r store.Record
		if r, b, err = store.DecodeRecord(b); err != nil {
			return nil, err
		}
		if r.Partition != partition {
			return nil, errMalformed
		}
		records = append(records, r)
	}
	return records, nil
}
