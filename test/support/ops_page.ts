/** The status page as a browser would ask for it, under whatever name, and its text without its markup. */
import { request } from 'node:http'

export interface Answer {
  status: number
  headers: NodeJS.Dict<string | string[]>
  text: string
}

/** `fetch` names no host but the one that it goes to. */
export async function getAs(port: number, path: string, host?: string): Promise<Answer> {
  const headers = host === undefined ? {} : { host }
  return await new Promise<Answer>((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, headers }, (response) => {
      const { statusCode: status = 0, headers } = response
      let text = ''
      response.setEncoding('utf8').on('data', (part) => {
        text += part
      })
      response.on('end', () => resolve({ status, headers, text }))
    })
      .on('error', reject)
      .end()
  })
}

export function textOf(html: string): string {
  return html
    .replace(/<style>.*?<\/style>/s, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#39;/g, "'")
    .replace(/&quot;/g, '"')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&amp;/g, '&')
    .replace(/\s+/g, ' ')
    .replace(/ (?=[,;.])/g, '')
}
