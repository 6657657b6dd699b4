// Uploads files with tus-js-client while the daemon that takes them in is killed
// and started again, and compares what is there afterwards with what was sent.
import assert from 'node:assert/strict'
import {spawn} from 'node:child_process'
import {createHash, randomBytes} from 'node:crypto'
import {once} from 'node:events'
import fs from 'node:fs'
import {createInterface} from 'node:readline'
import {PassThrough} from 'node:stream'
import {setTimeout as sleep} from 'node:timers/promises'
import * as tus from 'tus-js-client'

const MiB = 1 << 20
const sum = bytes => createHash('sha1').update(bytes).digest('hex')

// daemon is the program under test. It keeps its address when it comes back.
const daemon = {
  program: process.argv[2],
  addr: '127.0.0.1:0',
  kills: 0,

  async start() {
    this.process = spawn(this.program, ['serve', '--root', 'root', '--state', 'state', '--listen', this.addr, '--reserve', '0'],
      {stdio: ['ignore', 'inherit', 'pipe']})
    this.gone = once(this.process, 'exit')
    this.addr = await new Promise((serving, failed) => {
      const said = []
      createInterface({input: this.process.stderr}).on('line', line => {
        said.push(line)
        const {message, addr, level} = JSON.parse(line)
        if (level === 'error') failed(new Error(line))
        if (message === 'serving') serving(addr)
      })
      this.process.on('exit', () => failed(new Error('the daemon has ended:\n' + said.join('\n'))))
    })
  },

  // replace kills it and starts another.
  async replace() {
    this.process.kill('SIGKILL')
    this.kills++
    await this.gone
    await this.start()
  },

  async stop() {
    this.process.kill('SIGTERM')
    const [code] = await this.gone
    assert.equal(code, 0, 'the daemon ends well')
  },
}

let token

// upload sends body to its end. If killAt is told, the daemon is killed once so
// many bytes were sent.
async function upload(body, {killAt = Infinity, ...options}) {
  let replaced, killed, resumed
  const upload = new tus.Upload(body, {
    endpoint: `http://${daemon.addr}/tus/`,
    retryDelays: Array(50).fill(100),
    headers: {Authorization: 'Bearer ' + token},
    onProgress(bytes) {
      if (bytes >= killAt && !replaced) {
        killed = bytes
        replaced = daemon.replace()
      }
    },
    onAfterResponse(request, response) {
      if (request.getMethod() === 'HEAD' && response.getStatus() === 200) {
        resumed = Number(response.getHeader('Upload-Offset'))
      }
    },
    ...options,
  })
  const url = await new Promise((done, failed) => {
    upload.options.onSuccess = () => done(upload.url)
    upload.options.onError = failed
    upload.start()
  })
  if (killAt < Infinity) {
    assert(replaced, 'the daemon was killed')
    await replaced
    assert(resumed > 0, `killed with ${killed} bytes sent, gone on with at ${resumed}`)
    console.log(`killed with ${killed} bytes sent, gone on with at ${resumed}`)
  }
  return url
}

const stands = (path, bytes) => assert.equal(sum(fs.readFileSync('root/' + path)), sum(bytes), path)

async function run() {
  const data = randomBytes(64 * MiB + 123)
  fs.writeFileSync('data', data)
  const file = () => fs.createReadStream('data')

  // In several requests, of a file, which has to have its digest.
  await upload(file(), {
    uploadSize: data.length, chunkSize: 8 * MiB, metadata: {path: 'a/new/folder/big', sha1: sum(data)}, killAt: 30 * MiB,
  })
  stands('a/new/folder/big', data)

  // In one request, so long that the kill comes before its end.
  const long = Buffer.concat([data, data, data, data])
  await upload(long, {metadata: {filename: 'whole'}, killAt: 40 * MiB})
  stands('uploads/whole', long)

  // The client is interrupted too: another one goes on with its upload.
  const first = new tus.Upload(file(), {
    endpoint: `http://${daemon.addr}/tus/`, uploadSize: data.length, chunkSize: MiB, retryDelays: null,
    headers: {Authorization: 'Bearer ' + token}, metadata: {path: 'resumed'},
  })
  await new Promise((done, failed) => {
    first.options.onError = failed
    first.options.onChunkComplete = (_, bytes) => {
      if (bytes >= 5 * MiB) first.abort().then(done, failed)
    }
    first.start()
  })
  await daemon.replace()
  let at
  await upload(file(), {
    uploadSize: data.length, uploadUrl: first.url, chunkSize: 16 * MiB,
    onAfterResponse(request, response) { if (request.getMethod() === 'HEAD') at ??= Number(response.getHeader('Upload-Offset')) },
  })
  assert(at >= 5 * MiB, `resumed at ${at}`)
  stands('resumed', data)

  // Nothing; a length told late; bytes that come with the creation.
  await upload(Buffer.alloc(0), {metadata: {path: 'empty'}})
  stands('empty', Buffer.alloc(0))
  const part = data.subarray(0, 10 * MiB)
  await upload(fs.createReadStream('data', {end: part.length - 1}).pipe(new PassThrough()), {
    uploadLengthDeferred: true, chunkSize: 3 * MiB, metadata: {path: 'late'},
  })
  stands('late', part)
  await upload(part, {uploadDataDuringCreation: true, metadata: {path: 'with'}})
  stands('with', part)

  // What is given up is gone, and what is not what it should be never comes.
  const gone = new tus.Upload(data, {
    endpoint: `http://${daemon.addr}/tus/`, chunkSize: MiB, headers: {Authorization: 'Bearer ' + token}, metadata: {path: 'gone'},
  })
  await new Promise((done, failed) => {
    gone.options.onError = failed
    gone.options.onChunkComplete = () => gone.abort(true).then(done, failed)
    gone.start()
  })
  assert(!fs.existsSync('root/gone'))
  await assert.rejects(upload(part, {metadata: {path: 'mistaken', sha1: sum(data)}}), error => error.originalResponse?.getStatus() === 422)
  assert(!fs.existsSync('root/mistaken'))
  const store = fs.readFileSync('state/id', 'utf8').trim()
  const staged = fs.readdirSync(`root/.waybill/${store}/staging`)
  assert.deepEqual(staged, [], 'nothing is left of any upload')
}

await daemon.start()
try {
  token = fs.readFileSync('state/main-token', 'utf8').trim()
  const late = sleep(180_000, undefined, {ref: false}).then(() => { throw new Error('it takes too long') })
  await Promise.race([run(), late])
  await daemon.stop()
  console.log(`ok, with ${daemon.kills} kills`)
} finally {
  daemon.process.kill('SIGKILL')
}
