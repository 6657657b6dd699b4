package docwire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxClientReply bounds what a Client reads as one reply.
const maxClientReply = 64 << 20

// encryptTest is what clients send to try the connection key. Its content does
// not matter.
const encryptTest = `{"version": 1, "request": "encrypt_test", "data": {}, "auth": {}}`

// errServer is wrapped by what a Client says of a server that does not keep to
// the protocol.
var errServer = errors.New("unexpected from the server")

// Client is the client side of the legacy encrypted TCP (CFMS.md §1.2), with
// which tests and benchmarks drive the listener. It reads as shipped clients do
// and is as easily lost: 1024 bytes at a time until a read is short. It is for
// one goroutine.
type Client struct {
	conn    io.ReadWriter
	method  Method
	offered string
	session SessionKey
}

// NewClient returns a client over a connection on which nothing was sent yet.
func NewClient(conn io.ReadWriter) *Client { return &Client{conn: conn} }

// Handshake does the handshake, by the method the server offers.
func (c *Client) Handshake() error {
	if err := c.handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}

// Offered returns the method and the public key that the server offered, which
// clients store and compare.
func (c *Client) Offered() (Method, string) { return c.method, c.offered }

// Call sends a request and returns its reply.
func (c *Client) Call(request []byte) ([]byte, error) {
	if err := c.Send(request); err != nil {
		return nil, err
	}
	return c.Receive()
}

// Send sends a text as one message, in one write.
func (c *Client) Send(text []byte) error {
	_, err := c.conn.Write(c.Message(text))
	return err
}

// Message returns the message that Send would send, for who wants to cut, join
// or spoil it. Unlike a server's its length may be a multiple of 1024.
func (c *Client) Message(text []byte) []byte {
	return c.session.seal(nil, freshIV(), text, 0)
}

// Receive returns the text of the next reply. An end of the connection before it
// is io.EOF.
func (c *Client) Receive() ([]byte, error) {
	msg, err := c.read()
	if err != nil {
		return nil, err
	}
	return openMessage(c.session, msg)
}

// read returns one reply as it was sent.
func (c *Client) read() ([]byte, error) {
	var msg []byte
	part := make([]byte, SliceSize)
	for len(msg) < maxClientReply {
		n, err := c.conn.Read(part)
		msg = append(msg, part[:n]...)
		switch {
		case n == 0 && err != nil && len(msg) > 0:
			return nil, io.ErrUnexpectedEOF
		case n == 0 && err != nil:
			return nil, err
		case n < SliceSize:
			return msg, nil
		}
	}
	return nil, fmt.Errorf("%w: a reply without end", errServer)
}

// openMessage decrypts a whole message.
func openMessage(key SessionKey, msg []byte) ([]byte, error) {
	if len(msg) < minMessage || len(msg)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%w: a message of %d bytes", errServer, len(msg))
	}
	text := make([]byte, len(msg)-aes.BlockSize)
	cipher.NewCBCDecrypter(key.block, msg[:aes.BlockSize]).CryptBlocks(text, msg[aes.BlockSize:])
	n, good := padding(text[len(text)-aes.BlockSize:])
	if text = text[:len(text)-n]; good == 0 || !utf8.Valid(text) {
		return nil, ErrUndecryptable
	}
	return text, nil
}

func (c *Client) handshake() error {
	if _, err := io.WriteString(c.conn, helloWord); err != nil {
		return err
	}
	if got, err := c.read(); err != nil || string(got) != helloWord {
		return unexpectedReply(got, err)
	}
	if _, err := io.WriteString(c.conn, encryptWord); err != nil {
		return err
	}
	offer, err := c.read()
	if err != nil {
		return err
	}
	var step struct {
		Msg, Method string
		PublicKey   string `json:"public_key"`
		Code        int
	}
	if json.Unmarshal(offer, &step) != nil || step.Msg != encryptWord || step.Code != 0 {
		return unexpectedReply(offer, nil)
	}
	c.method, c.offered = Method(step.Method), step.PublicKey
	switch c.method {
	case MethodRSA:
		err = c.exchangeRSA()
	case MethodX25519:
		err = c.exchangeX25519()
	default:
		return unexpectedReply(offer, nil)
	}
	if err != nil {
		return err
	}
	if got, err := c.Receive(); err != nil || string(got) != encryptedOK {
		return unexpectedReply(got, err)
	}
	return nil
}

// exchangeRSA does step 5 for rsa.
func (c *Client) exchangeRSA() error {
	block, _ := pem.Decode([]byte(c.offered))
	if block == nil || block.Type != publicBlock {
		return fmt.Errorf("%w: no public key", errServer)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%w: a public key that is not RSA", errServer)
	}
	raw := make([]byte, connectionKeySize)
	rand.Read(raw)
	if c.session, err = newSessionKey(raw); err != nil {
		return err
	}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, raw, nil)
	if err != nil {
		return err
	}
	_, err = c.conn.Write(sealed)
	return err
}

// exchangeX25519 does steps 5 to 7 for x25519.
func (c *Client) exchangeX25519() error {
	raw, err := hex.DecodeString(c.offered)
	if err != nil {
		return err
	}
	public, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return err
	}
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	secret, err := own.ECDH(public)
	if err != nil {
		return err
	}
	if c.session, err = newSessionKey(secret); err != nil {
		return err
	}
	if _, err := c.conn.Write(own.PublicKey().Bytes()); err != nil {
		return err
	}
	digits, err := c.Receive()
	if err != nil {
		return err
	}
	raw, err = hex.AppendDecode(nil, digits)
	if err != nil || len(raw) != connectionKeySize {
		return fmt.Errorf("%w: no connection key", errServer) // and not what came instead
	}
	if c.session, err = newSessionKey(raw); err != nil {
		return err
	}
	return c.Send([]byte(encryptTest))
}

func unexpectedReply(got []byte, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %.100q", errServer, got)
}
