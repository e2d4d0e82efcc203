// Uploads a file with the stock tus-js-client and tells on standard output, as JSON, what it did.
//   node tus_upload.mjs '{"endpoint": ..., "token": ..., "file": ..., ...}'
// chunkSize       bytes of a PATCH; all in one when absent
// creationBody    first bytes travel with the creation
// urlStore        file in which the client remembers its uploads; resumes the one it finds there
// uploadUrl       resumes this upload, whatever the store says
// dieAfterBytes   ends the process, without a word to the server, once it has taken so much
// retry           false: gives up at the first break; a number: so many tries
// parallel        partial uploads at once, joined at the end
import { createReadStream, readFileSync, statSync } from 'node:fs'
import * as tus from 'tus-js-client'

const asked = JSON.parse(process.argv[2])
const requests = []
let restarts = asked.retry === false ? 0 : 20
const known = { previous: 0, url: null }

function tell(outcome) {
  process.stdout.write(JSON.stringify({ ...outcome, ...known, requests }))
}

// Partial uploads read the file side by side, which a stream cannot.
const source = asked.parallel ? readFileSync(asked.file) : createReadStream(asked.file)
const upload = new tus.Upload(source, {
  endpoint: asked.endpoint,
  uploadUrl: asked.uploadUrl ?? null,
  headers: { Authorization: `Bearer ${asked.token}` },
  metadata: { filename: 'clip.mcap', filetype: 'application/octet-stream' },
  uploadSize: asked.parallel ? undefined : statSync(asked.file).size,
  chunkSize: asked.chunkSize ?? Infinity,
  uploadDataDuringCreation: asked.creationBody ?? false,
  storeFingerprintForResuming: asked.urlStore !== undefined,
  urlStorage: asked.urlStore === undefined ? undefined : new tus.FileUrlStorage(asked.urlStore),
  parallelUploads: asked.parallel ?? 1,
  retryDelays: asked.retry === false ? null : Array(asked.retry ?? 3).fill(100),
  onUploadUrlAvailable() {
    known.url = upload.url
  },
  onAfterResponse(request, response) {
    const offset = response.getHeader('Upload-Offset')
    requests.push({
      method: request.getMethod(),
      status: response.getStatus(),
      offset: offset === undefined ? null : Number(offset),
    })
  },
  onChunkComplete(chunkSize, bytesAccepted) {
    if (asked.dieAfterBytes !== undefined && bytesAccepted >= asked.dieAfterBytes) {
      tell({ outcome: 'died' })
      process.exit(0)
    }
  },
  onError(error) {
    // The client tries all but the joining again by itself; `start` goes on with what it knows.
    if (asked.parallel && error.originalResponse == null && restarts-- > 0) return upload.start()
    const response = error.originalResponse
    tell({
      outcome: 'error',
      message: error.message,
      status: response?.getStatus() ?? null,
      body: response?.getBody() ?? null,
    })
  },
  onSuccess() {
    tell({ outcome: 'success' })
  },
})

if (asked.urlStore !== undefined && asked.uploadUrl === undefined) {
  const previous = await upload.findPreviousUploads()
  known.previous = previous.length
  if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
}
upload.start()
