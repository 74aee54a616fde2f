# A web site: one file of HTML for each page.

resource "localfs_file" "page" {
  for_each = var.pages

  path    = "web/${each.key}.html"
  content = <<-HTML
    <!doctype html>
    <title>${each.value.title}</title>
    <h1>${each.value.title}</h1>
    <p>${each.value.text}</p>
  HTML
}
