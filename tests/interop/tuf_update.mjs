// Updates from a TUF repository with the stock tuf-js and tells on standard output, as JSON, what
// it found.
//   node tuf_update.mjs '{"metadata": URL, "targets": URL, "folder": ..., "path": ...}'
// folder   holds root.json, which is trusted; metadata and files stay there for the next run
// path     the target to download
import { mkdirSync } from 'node:fs'
import { Updater } from 'tuf-js'

const asked = JSON.parse(process.argv[2])
const files = `${asked.folder}/files`
mkdirSync(files, { recursive: true })

try {
  const updater = new Updater({
    metadataDir: asked.folder,
    metadataBaseUrl: asked.metadata,
    targetDir: files,
    targetBaseUrl: asked.targets,
    config: { fetchRetries: 0 },
  })
  await updater.refresh()
  const target = await updater.getTargetInfo(asked.path)
  const file = target === undefined ? null : await updater.downloadTarget(target)
  process.stdout.write(JSON.stringify({ outcome: 'success', file }))
} catch (error) {
  process.stdout.write(JSON.stringify({ outcome: 'error', message: `${error}` }))
}
