package panelwire

import "waybill/actions"

// DecodeParams reads the parameters of the action that spec names. The error
// is an *actions.Error: CodeParam naming the field, CodeTooBig, or
// CodeUnavailable. It is to be called once, after the permission was checked:
// Data of an UploadChunk aliases the message.
func DecodeParams(spec *actions.Spec, r *Request) (actions.Action, error) {
	if spec.Unavailable {
		return nil, actions.Errorf(actions.CodeUnavailable, "%s is not offered here", spec.Name)
	}
	if r.badParams {
		return nil, errBadParams()
	}
	p := fields{r: r}
	a := p.action(spec.Name)
	if p.err != nil {
		return nil, p.err
	}
	if a == nil {
		return nil, actions.Errorf(actions.CodeUnknownAction, "%s", spec.Name)
	}
	return a, nil
}

// DecodeLogin reads the parameters of login, which is the connection's
// business and no action. The token must not be logged.
func DecodeLogin(r *Request) (token string, err error) {
	if r.badParams {
		return "", errBadParams()
	}
	p := fields{r: r}
	token = p.need(fieldToken)
	return token, p.err
}

func errBadParams() error { return actions.Errorf(actions.CodeParam, "params is not an object") }

// action reads the parameters of the named action; nil if there is none.
func (p *fields) action(name string) actions.Action {
	switch name {
	case "ping":
		return actions.Ping{}
	case "get_permissions":
		return actions.GetPermissions{}
	case "get_system_info":
		return actions.GetSystemInfo{}
	case "get_all_reports":
		return actions.GetAllReports{}
	case "file_upload_request":
		path, has := p.text(fieldPath)
		return &actions.UploadRequest{
			Path: path, HasPath: has, SHA1: p.sha1(), Timeout: p.timeout(), Size: p.size(),
		}
	case "file_upload_chunk":
		return p.uploadChunk()
	case "file_upload_cancel":
		return &actions.UploadCancel{Session: p.id(fieldFileID)}
	case "file_upload_status":
		return &actions.UploadStatusOf{Session: p.id(fieldFileID)}
	case "file_transfer_list":
		return actions.TransferList{}
	case "file_download_request":
		return &actions.DownloadRequest{Path: p.need(fieldPath), Timeout: p.timeout(), URL: p.flag(fieldURL)}
	case "file_download_chunk":
		id := p.id(fieldFileID)
		from, to := p.span()
		return &actions.DownloadChunk{Session: id, From: from, To: to, Base64: p.base64()}
	case "file_download_close":
		return &actions.DownloadClose{Session: p.id(fieldFileID)}
	case "get_file_info":
		return &actions.FileInfo{Path: p.need(fieldPath)}
	case "get_directory_info":
		return &actions.DirectoryInfo{Path: p.need(fieldPath)}
	case "get_job":
		return &actions.JobOf{Job: p.id(fieldJob)}
	}
	return nil
}

// uploadChunk reads a chunk. A packet's attachment is its data; a packet
// without one may carry data like any other request, or is a chunk of nothing.
func (p *fields) uploadChunk() actions.Action {
	a := &actions.UploadChunk{Session: p.id(fieldFileID), Offset: p.offset()}
	isBase64 := p.base64()
	noData := p.r.fields[fieldData] == nil && !p.r.decoded
	if p.r.HasAttachment && (len(p.r.Attachment) > 0 || noData) {
		a.Data = p.r.Attachment
		return a
	}
	a.Data, a.Text = p.data(isBase64), !isBase64
	return a
}
