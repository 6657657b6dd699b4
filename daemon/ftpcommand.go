package daemon

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"waybill/actions"
)

// ftpFeatures answers FEAT: what there is, before and after the login.
const ftpFeatures = "211-Features:\r\n AUTH TLS\r\n EPSV\r\n MDTM\r\n MLST type*;size*;modify*;\r\n PBSZ\r\n PROT\r\n" +
	" REST STREAM\r\n SIZE\r\n UTF8\r\n211 End\r\n"

// passForLibrary makes the library's login succeed. Who it is was seen to
// before: the library never gets to see a token.
const passForLibrary = "PASS -"

// command decides what becomes of a command: it is answered here, or goes to
// the library as it is returned. An error ends the session.
func (s *ftpSession) command(line string) (pass string, err error) {
	verb, param := parseFTP(line)
	if strings.ContainsFunc(param, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return s.answer(501, "Control characters are not allowed.")
	}
	switch verb {
	case "AUTH":
		return s.auth(param)
	case "PBSZ":
		if !s.control.secure {
			return s.answer(503, "PBSZ not allowed on an insecure control connection.")
		}
		return s.answer(200, "PBSZ=0 successful.")
	case "PROT":
		return s.prot(param)
	case "USER":
		return s.user(param)
	case "PASS":
		return s.pass(param)
	case "FEAT":
		s.settle()
		s.control.send(ftpFeatures)
		return "", nil
	case "OPTS":
		if opt, _, _ := strings.Cut(strings.ToUpper(param), " "); opt == "UTF8" {
			return s.answer(200, "Always in UTF8.")
		}
		return s.answer(501, "Unknown option.")
	case "QUIT", "NOOP", "SYST":
		return verb, nil
	}
	if s.task == nil {
		return s.answer(530, "Log in with USER and PASS first.")
	}
	return s.commandOfUser(verb, param)
}

// commandOfUser is command for who has logged in.
func (s *ftpSession) commandOfUser(verb, param string) (pass string, err error) {
	line := strings.TrimSpace(verb + " " + param)
	switch verb {
	case "PWD", "XPWD", "CDUP", "CWD", "XCWD", "TYPE", "SIZE", "MDTM", "MLST", "REST":
		return line, nil
	case "XCUP":
		return "CDUP", nil
	case "MODE":
		return strings.ToUpper(line), nil
	case "STRU":
		if strings.EqualFold(param, "F") {
			return s.answer(200, "File structure.")
		}
		return s.answer(504, "File structure only.")
	case "ALLO":
		return s.allo(param)
	case "PASV", "EPSV":
		return s.passive(verb, param)
	case "LIST", "NLST", "MLSD", "RETR", "STOR", "APPE":
		if !s.begins() {
			return s.answer(425, "Use EPSV or PASV first.")
		}
		return line, nil
	case "ABOR":
		s.abort()
		return verb, nil
	case "PORT", "EPRT", "STOU", "MFMT", "MFCT", "MFF", "DELE", "RNFR", "RNTO", "MKD", "XMKD", "RMD", "XRMD", "SITE",
		"STAT", "HELP", "ACCT", "SMNT", "REIN", "CCC", "ADAT", "MIC", "CONF", "ENC", "LANG", "HASH", "COMB", "AVBL":
		return s.answer(502, "Command not implemented.")
	}
	return s.answer(500, "Command not understood.")
}

// parseFTP splits a command line. Clients put Telnet signals before ABOR.
func parseFTP(line string) (verb, param string) {
	line = strings.TrimLeftFunc(line, func(r rune) bool { return r > '~' || r <= ' ' })
	verb, param, _ = strings.Cut(line, " ")
	return strings.ToUpper(verb), param
}

func (s *ftpSession) answer(code int, text string) (string, error) {
	s.control.say(code, text)
	return "", nil
}

func (s *ftpSession) auth(param string) (string, error) {
	switch method := strings.ToUpper(param); {
	case s.control.secure:
		return s.answer(503, "Already using TLS.")
	case method != "TLS" && method != "TLS-C":
		return s.answer(504, "AUTH TLS only.")
	}
	s.control.say(234, "AUTH TLS successful.")
	return "", s.control.encrypt()
}

func (s *ftpSession) prot(param string) (string, error) {
	switch {
	case !s.control.secure:
		return s.answer(503, "PROT not allowed on an insecure control connection.")
	case strings.EqualFold(param, "P"):
		s.control.protected = true
		return s.answer(200, "Protection set to Private.")
	case strings.EqualFold(param, "C"):
		return s.answer(534, "Data connections are encrypted.")
	case strings.EqualFold(param, "S"), strings.EqualFold(param, "E"):
		return s.answer(536, "PROT P only.")
	}
	return s.answer(504, "PROT P only.")
}

const needsTLS = "SSL/TLS required on the control channel."

func (s *ftpSession) user(param string) (string, error) {
	switch {
	case !s.control.secure:
		return s.answer(550, needsTLS)
	case s.task != nil:
		return s.answer(503, "Already logged in.")
	case param == "":
		return s.answer(501, "USER needs a name.")
	}
	s.control.user = param
	return s.answer(331, "Username ok, send password.")
}

// pass tries a login with a task's id and token. Whatever is wrong, the answer
// and when it comes are the same.
func (s *ftpSession) pass(param string) (string, error) {
	switch {
	case !s.control.secure:
		return s.answer(550, needsTLS)
	case s.task != nil:
		return s.answer(503, "Already logged in.")
	case s.control.user == "":
		return s.answer(503, "Login with USER first.")
	}
	tried := time.Now()
	task, err := s.f.s.engine.Task(actions.TaskCall{ID: s.control.user, Token: param, Peer: s.ip, Via: s.via})
	if err == nil {
		err = task.Check()
	}
	s.control.user = ""
	switch {
	case errors.Is(err, actions.ErrFailed):
		return "", io.EOF // nothing may be answered
	case errors.Is(err, actions.ErrStopping):
		s.control.say(421, replyStopping.text)
		return "", io.EOF
	case err == nil:
		s.task = task
		return passForLibrary, nil
	}
	s.refuseLate(tried)
	s.control.say(530, "Authentication failed.")
	if s.control.tries++; s.control.tries >= maxFTPTries {
		s.control.say(421, "Too many failed logins.")
		return "", io.EOF
	}
	return "", nil
}

// allo takes the length of what is to be uploaded next. Of its older form with
// a record size only the length counts.
func (s *ftpSession) allo(param string) (string, error) {
	length, _, _ := strings.Cut(param, " ")
	size, err := strconv.ParseInt(length, 10, 64)
	if err != nil || size < 0 {
		return s.answer(501, "ALLO needs a length.")
	}
	s.settle()
	s.declare(size)
	return s.answer(200, "ALLO command successful.")
}

func (s *ftpSession) passive(verb, param string) (string, error) {
	switch {
	case !s.control.protected:
		return s.answer(550, "SSL/TLS required on the data channel.")
	case verb == "EPSV" && strings.EqualFold(param, "ALL"):
		return s.answer(200, "EPSV it is.")
	case verb == "PASV" && s.f.host == "" && !isIPv4(s.control.LocalAddr()):
		return s.answer(425, "PASV is for IPv4; use EPSV.")
	}
	// The library would listen anew before it lets go of the port it has, which
	// may be the only one.
	s.settle()
	s.unlisten()
	return verb, nil
}
